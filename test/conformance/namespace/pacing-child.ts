/**
 * Transfers both ways, run by pacing.ts in a network namespace of its own, with BBR: `pacing-child.ts MODULE EXPORT`. Prints the congestion
 * control of the engine's two sockets during each, as one line of JSON.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Backend } from '../../../proxy/model/backend.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from '../engine/rig.ts'
import { startFarEcho } from './far-echo.ts'

const [source = '', name = ''] = process.argv.slice(2)
const create = (await import(source))[name] as CreateEngine
const engine = create({ chooser: new FakeChooser(), options: plainOptions, clock: systemClock, log: silentLog })

const far = await startFarEcho()
const near = [await echo('127.0.0.1', 9001), await echo('::1', 9002)] as const
const large = 400_000
const seen = {
  'a small one': await transfer(100, far.here, 8000, far.backend),
  'a small one on loopback': await transfer(100, '127.0.0.1', 8001, near[0]),
  'from another host': await transfer(large, '127.0.0.1', 8002, far.backend),
  'on loopback': await transfer(large, '127.0.0.1', 8003, near[0]),
  'on IPv6 loopback': await transfer(large, '::1', 8004, near[1]),
  'of a client at the address of the frontend': await transfer(large, far.here, 8005, far.backend),
}
console.log(JSON.stringify(seen))
far.stop()
process.exit()

async function echo(address: string, port: number): Promise<Backend> {
  await once(createServer(socket => socket.pipe(socket)).listen(port, address), 'listening')
  return backend({ address, port })
}

/** Sends so many bytes through a frontend of its own and waits for their echo; then the engine's sockets are looked at. */
async function transfer(bytes: number, ip: string, port: number, to: Backend): Promise<Record<string, string>> {
  const service = globalService({
    local: clusterService({ clusterIPs: [ip], ports: [{ name: '', protocol: 'TCP', port }] }),
    backends: [to],
  })
  for (const frontend of service.frontends) await engine.listen(frontend, service)
  const socket = connect(port, ip)
  socket.write(Buffer.alloc(bytes))
  for (let left = bytes; left > 0; ) left -= (await once(socket, 'data'))[0].length
  const found = { client: congestionControl(`sport = :${port}`), backend: congestionControl(`dport = :${to.port}`) }
  socket.destroy()
  return found
}

/** Of the one socket that the filter of ss(8) finds. */
function congestionControl(filter: string): string {
  const lines = execFileSync('ss', ['-tinHO', 'state', 'established', filter], { encoding: 'utf8' }).trim().split('\n')
  if (lines.length !== 1) return `${lines.length} sockets`
  return /\b(bbr|reno|cubic)\b/.exec(lines[0] ?? '')?.[1] ?? 'none'
}
