/**
 * In a network and mount namespace of its own: a Starlane whose clients the kernel leads, from its start to its end, with a crash and
 * handovers in between. Prints what clients saw as JSON. Arguments: a folder of cgroup v2, a folder of bpffs, the engine.
 */
import { execFile } from 'node:child_process'
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { promisify } from 'node:util'
import { endpointText } from '../../../../proxy/model/address.ts'
import { connections } from '../../../../scripts/faults/load.ts'
import { type Engine, Stage } from '../../../../scripts/faults/stage.ts'
import { eventually } from '../../../support/eventually.ts'
import { declare } from './service.ts'

const [root = '', bpf = '', engine = 'native'] = process.argv.slice(2)
const cgroup = `${root}/starlane-test-${process.pid}`
mkdirSync(cgroup)
writeFileSync(`${cgroup}/cgroup.procs`, String(process.pid))
const pin = `${bpf}/starlane`
const seen: Record<string, unknown> = {}

const stage = new Stage({ engine: engine as Engine, drain: '1s' })
stage.write({ proxy: { offload: 'ebpf', ebpf: { cgroup, pin } } })
const manifests = `${stage.folder}/cluster-1`
const v4 = '10.96.0.10'
const v6 = 'fd00:96::10'
await tcpServer('127.0.0.7', 'red')
await tcpServer('::1', 'blue')
await udpServer('127.0.0.8', 'green')
declare(manifests, 'tcp4', { ip: v4, port: 80, protocol: 'TCP', backends: { '127.0.0.7': 100 } })
declare(manifests, 'tcp6', { ip: v6, port: 80, protocol: 'TCP', backends: { '::1': 100 } })
declare(manifests, 'udp4', { ip: v4, port: 53, protocol: 'UDP', backends: { '127.0.0.8': 100 } })
declare(manifests, 'empty', { ip: '10.96.0.12', port: 80, protocol: 'TCP', backends: {} })
let current = stage.run()
await current.logged('ready')
seen.status = await status()

seen.tcp4 = await ask(v4)
seen.tcp4FromIPv6Socket = await ask(`::ffff:${v4}`)
seen.tcp6 = await ask(v6)
seen.otherPort = await ask(v4, 81)
seen.empty = await ask('10.96.0.12')
seen.outside = await askOutside(v4)

const datagrams = createSocket('udp4')
seen.udp = await exchange(datagrams, v4)
const connected = createSocket('udp4')
connected.connect(53, v4)
await once(connected, 'connect')
const { address, port } = connected.remoteAddress()
seen.udpConnected = [await exchange(connected), endpointText(address, port)]
const mapped = createSocket('udp6')
seen.udpFromIPv6Socket = await exchange(mapped, `::ffff:${v4}`)

declare(manifests, 'later', { ip: '10.96.0.13', port: 80, protocol: 'TCP', backends: { '127.0.0.7': 100 } })
await eventually(async () => {
  if ((await ask('10.96.0.13'))[0] !== 'red') throw new Error('the new service is not reached')
})
rmSync(`${stage.folder}/cluster-1/later.yaml`)
await eventually(async () => {
  if ((await ask('10.96.0.13'))[0] !== 'ENETUNREACH') throw new Error('the old service is still led')
})
seen.later = 'came and went'

await stage.echo('127.0.0.9')
declare(manifests, 'echo', { ip: '10.96.0.15', port: 80, protocol: 'TCP', backends: { '127.0.0.9': 100 } })
await eventually(async () => {
  if ((await ask('10.96.0.15'))[0] !== 'who?') throw new Error('not reached')
})
const load = connections({ host: '10.96.0.15', port: 80 }, 100)
const successor = stage.run()
await successor.logged('ready')
seen.udpAfterHandover = await exchange(connected)
await current.ended
current = successor
const { asked, answered } = await load.stop()
seen.handover = { someAsked: asked > 20, lost: asked - answered }
seen.adopted = (await current.logged('offload.attached')).adopted

declare(manifests, 'gone', { ip: '10.96.0.14', port: 80, protocol: 'TCP', backends: { '127.0.0.7': 100 } })
await eventually(async () => {
  if ((await ask('10.96.0.14'))[0] !== 'red') throw new Error('not reached')
})
current.child.kill('SIGKILL')
await current.ended
seen.crashed = await ask(v4)
rmSync(`${stage.folder}/cluster-1/gone.yaml`)
current = stage.run()
await current.logged('ready')
seen.afterCrash = await ask(v4)
seen.leftover = await ask('10.96.0.14')
// The socket is connected to the listener's port.
seen.udpAfterCrash = await exchange(connected)
seen.adoptedAfterCrash = (await current.logged('offload.attached')).adopted

current.child.kill('SIGTERM')
seen.code = await current.ended
seen.stopped = await ask(v4)
seen.pins = readdirSync(pin)
for (const socket of [datagrams, connected, mapped]) socket.close()
await stage.close()
writeFileSync(`${root}/cgroup.procs`, String(process.pid))
rmdirSync(cgroup)
console.log(JSON.stringify(seen))
process.exit(0)

/** Who answers, and the peer's address as a program sees it; or the error. */
async function ask(host: string, port = 80): Promise<string[]> {
  const socket = connect({ host, port })
  try {
    await once(socket, 'connect')
    const peer = endpointText(socket.remoteAddress ?? '', socket.remotePort ?? 0)
    socket.end('who?')
    const [answer] = await once(socket, 'data')
    return [String(answer), peer]
  } catch (error) {
    return [(error as NodeJS.ErrnoException).code ?? String(error)]
  } finally {
    socket.destroy()
  }
}

/** The same by a program that is not in the cgroup. */
async function askOutside(host: string): Promise<string> {
  const script = `require('net').connect(80, '${host}').on('error', error => console.log(error.code)).on('connect', () => process.exit(1))`
  const enter = `echo $$ > ${root}/cgroup.procs && exec "$0" -e "$1"`
  const { stdout } = await promisify(execFile)('sh', ['-c', enter, process.execPath, script])
  return stdout.trim()
}

async function exchange(socket: Socket, host?: string): Promise<string[]> {
  const answer = once(socket, 'message', { signal: AbortSignal.timeout(3000) })
  if (host === undefined) socket.send('who?')
  else socket.send('who?', 53, host)
  try {
    const [message, { address, port }] = (await answer) as [Buffer, RemoteInfo]
    return [String(message), endpointText(address, port)]
  } catch (error) {
    return [String(error)]
  }
}

async function tcpServer(ip: string, name: string): Promise<void> {
  const server = createServer(socket => socket.on('data', () => socket.end(name)).on('error', () => {}))
  server.listen(8000, ip).unref()
  await once(server, 'listening')
}

async function udpServer(ip: string, name: string): Promise<void> {
  const socket = createSocket('udp4').on('message', (_, { port, address }) => socket.send(name, port, address))
  socket.bind(8000, ip).unref()
  await once(socket, 'listening')
}

async function status(): Promise<unknown> {
  const response = await fetch(`http://${stage.admin.host}:${stage.admin.port}/v1/status`)
  const { components } = (await response.json()) as { components: { name: string; state: string; detail: string }[] }
  const found = components.find(({ name }) => name === 'Offload')
  return found && [found.state, found.detail.replace(cgroup, 'CGROUP')]
}
