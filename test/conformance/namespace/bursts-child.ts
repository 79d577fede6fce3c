/**
 * Bursts of datagrams both ways, run by bursts.ts in a network namespace of its own: `bursts-child.ts MODULE EXPORT PROGRAM`.
 * Prints what became of each kind of burst as one line of JSON.
 */
import { execFile, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from '../engine/rig.ts'

const [source = '', name = '', program = ''] = process.argv.slice(2)
const create = (await import(source))[name] as CreateEngine
const host = '127.0.0.1'
const rounds = 25

const server = spawn(program, ['serve', host], { stdio: ['ignore', 'pipe', 'inherit'] })
const [line] = await once(server.stdout, 'data')
const serving = backend({ address: host, port: Number(line), protocol: 'UDP' })
// A port that was free a moment ago, in a namespace where nobody else takes it.
const unused = createSocket('udp4').bind(0, host)
await once(unused, 'listening')
const refusing = backend({ address: host, port: unused.address().port, protocol: 'UDP' })
unused.close()

const chooser = new FakeChooser()
chooser.decide = ({ tried, frontend }) => ({
  backend: frontend.port === 8002 && tried.length === 0 ? refusing : serving,
})
const engine = create({ chooser, options: plainOptions, clock: systemClock, log: silentLog })
for (const port of [8001, 8002]) {
  const service = globalService({
    local: clusterService({ clusterIPs: [host], ports: [{ name: '', protocol: 'UDP', port }] }),
    backends: [serving, refusing],
  })
  for (const frontend of service.frontends) await engine.listen(frontend, service)
}

const seen = {
  equal: await ask(8001, 48, 1200, 1200),
  shorterLast: await ask(8001, 48, 1200, 700),
  longerLast: await ask(8001, 48, 700, 1200),
  emptyLast: await ask(8001, 20, 300, 0),
  large: await ask(8001, 12, 4000, 4000),
  refusedFirst: await ask(8002, 16, 1200, 1200),
}
console.log(JSON.stringify(seen))
server.kill('SIGKILL')
process.exit()

async function ask(port: number, count: number, size: number, last: number): Promise<unknown> {
  const given = ['ask', host, port, rounds, count, size, last].map(String)
  const { stdout } = await promisify(execFile)(program, given)
  return JSON.parse(stdout)
}
