/**
 * In a network and mount namespace of its own, which is a node: a Starlane whose clients, in the network namespace of a pod, the kernel leads straight to
 * backends. Prints what they saw as JSON. Arguments: a folder of cgroup v2, a folder of bpffs.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Stage } from '../../../../scripts/faults/stage.ts'
import { eventually } from '../../../support/eventually.ts'
import type { Calls } from './client.ts'
import { declare } from './service.ts'

const [root = '', bpf = ''] = process.argv.slice(2)
const cgroup = `${root}/starlane-test-${process.pid}`
mkdirSync(cgroup)
writeFileSync(`${cgroup}/cgroup.procs`, String(process.pid))
const node = '10.0.0.1'
const pod = '10.0.0.2'
const seen: Record<string, unknown> = {}

const holder = spawn('unshare', ['-n', 'sh', '-c', 'echo; exec sleep 600'], { stdio: ['ignore', 'pipe', 'inherit'] })
await once(holder.stdout, 'data')
const inPod = ['-t', String(holder.pid), '-n']
run('ip', `link add node type veth peer name pod netns ${holder.pid}`)
for (const address of [node, '10.0.0.11', '10.0.0.12']) run('ip', `addr add ${address}/24 dev node`)
run('ip', 'link set node up')
for (const address of [pod, '10.0.0.3']) run('nsenter', `${inPod.join(' ')} ip addr add ${address}/24 dev pod`)
run('nsenter', `${inPod.join(' ')} ip link set pod up`)
const client = podClient()

const plugins = [{ use: 'affinity' }, { use: 'session-affinity' }]
const stage = new Stage({ engine: 'native', drain: '200ms', config: { plugins } })
const ebpf = { cgroup, pin: `${bpf}/starlane`, listen: [node], clients: [`${pod}/32`], direct: true }
stage.write({ proxy: { offload: 'ebpf', ebpf } })
const servers: Record<string, string> = { '10.0.0.11': 'one', '10.0.0.12': 'two' }
for (const [ip, name] of Object.entries(servers)) await serve(ip, name)
const manifests = `${stage.folder}/cluster-1`
const [web, sticky, names] = ['10.96.0.10', '10.96.0.11', '10.96.0.12']
const both = { '10.0.0.11': 300, '10.0.0.12': 100 }
declare(manifests, 'web', { ip: web, port: 80, protocol: 'TCP', backends: both })
const affine = { sessionAffinity: 'ClientIP' }
declare(manifests, 'sticky', { ip: sticky, port: 80, protocol: 'TCP', backends: { '10.0.0.11': 100 }, spec: affine })
declare(manifests, 'names', { ip: names, port: 53, protocol: 'UDP', backends: both })
let current = stage.run()
await current.logged('ready')

seen.direct = await client('ask', web)
seen.sticky = await client('ask', sticky)
seen.explained = [await explained('web'), await explained('sticky')]
const counts = await client('count', web, 400)
const share = (counts[`one ${pod}`] ?? 0) / 400
seen.weights = {
  sum: (counts[`one ${pod}`] ?? 0) + (counts[`two ${pod}`] ?? 0),
  threeQuarters: share > 0.64 && share < 0.86,
}
await client('socket')
seen.datagrams = (await client('exchange', 20, names)).map(text => text.replace(/one|two/, 'ONE OF THEM'))
const port = Number(/61\d{3}|6[2-5]\d{3}/.exec(listeners())?.[0])
seen.listener = [await client('ask', node, port, pod), await client('ask', node, port, '10.0.0.3')]

// A connection and a connected UDP socket on the backend that leaves.
while ((await client('open', web)) !== `two ${pod}`);
do await client('socket', names)
while (!(await client('exchange', 1))[0]?.startsWith('two'))
const ended = client('ended')
const failed = client('failure')
declare(manifests, 'web', { ip: web, port: 80, protocol: 'TCP', backends: { '10.0.0.11': 100 } })
declare(manifests, 'names', { ip: names, port: 53, protocol: 'UDP', backends: { '10.0.0.11': 100 } })
seen.cut = { tcp: await ended, udp: await failed }
seen.afterChange = Object.keys(await client('count', web, 30))
await client('socket', names)
seen.udpAfterChange = await client('exchange', 5)

current.child.kill('SIGKILL')
await current.ended
seen.crashed = [await client('ask', web), await client('ask', sticky)]
current = stage.run()
await current.logged('ready')
// Until its sources have answered it goes by what it remembers.
await eventually(async () => {
  const response = await fetch(`http://${stage.admin.host}:${stage.admin.port}/v1/status`)
  const { clusters } = (await response.json()) as { clusters: { link: { state: string } }[] }
  if (clusters.some(({ link }) => link.state !== 'live')) throw new Error('a source has not answered')
})
seen.afterCrash = [await client('ask', web), await client('ask', sticky)]
current.child.kill('SIGTERM')
seen.code = await current.ended

client.close()
holder.kill('SIGKILL')
await stage.close()
writeFileSync(`${root}/cgroup.procs`, String(process.pid))
await eventually(() => rmdirSync(cgroup))
console.log(JSON.stringify(seen))
process.exit(0)

function run(command: string, args: string): void {
  execFileSync(command, args.split(' '))
}

/** Calls of a process in the pod. */
function podClient() {
  const script = fileURLToPath(new URL('client.ts', import.meta.url))
  const child = spawn('nsenter', [...inPod, process.execPath, script], { stdio: ['pipe', 'pipe', 'inherit'] })
  const waiting = new Map<number, (answer: unknown) => void>()
  createInterface({ input: child.stdout }).on('line', line => {
    const { id, answer } = JSON.parse(line)
    waiting.get(id)?.(answer)
  })
  let last = 0
  const call = <C extends keyof Calls>(call: C, ...args: Parameters<Calls[C]>): ReturnType<Calls[C]> => {
    const id = ++last
    child.stdin.write(`${JSON.stringify({ id, call, args })}\n`)
    return new Promise(resolve => waiting.set(id, resolve as (answer: unknown) => void)) as ReturnType<Calls[C]>
  }
  return Object.assign(call, { close: () => child.stdin.end() })
}

/** Answers with its name and the address that the client has here. */
async function serve(ip: string, name: string): Promise<void> {
  const server = createServer(socket => {
    socket.on('data', () => socket.write(`${name} ${socket.remoteAddress}`)).on('error', () => {})
  })
  await once(server.listen(8000, ip).unref(), 'listening')
  const datagrams = createSocket('udp4')
  datagrams.on('message', (_, { port, address }) => datagrams.send(name, port, address))
  await once(datagrams.bind(8000, ip).unref(), 'listening')
}

/** The lines of listening sockets of the node. */
function listeners(): string {
  const lines = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter(line => / 0100000A:\w+ 00000000:0000 0A /.test(line))
  return lines.map(line => Number.parseInt(/0100000A:(\w+)/.exec(line)?.[1] ?? '', 16)).join(' ')
}

async function explained(name: string): Promise<string> {
  const response = await fetch(`http://${stage.admin.host}:${stage.admin.port}/v1/explain/default/${name}`)
  const { frontends } = (await response.json()) as { frontends: { offload: string }[] }
  return frontends[0]?.offload ?? ''
}
