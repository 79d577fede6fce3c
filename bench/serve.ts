/** Runs an engine alone over a fixed list of backends taken in turn: `serve.ts --engine=native --threads=1 --listen=A:P --backend=A:P…` */
import { parseArgs } from 'node:util'
import { createNativeEngine } from '../proxy/dataplane/native/engine.ts'
import { createStreamsEngine } from '../proxy/dataplane/streams/engine.ts'
import { familyOf, parseEndpoint } from '../proxy/model/address.ts'
import { type Backend, backendKey, destinationOf } from '../proxy/model/backend.ts'
import type { Chooser } from '../proxy/model/flow.ts'
import { silentLog } from '../proxy/model/log.ts'
import { type Frontend, frontendKey, type GlobalService } from '../proxy/model/service.ts'
import { systemClock } from '../proxy/model/time/clock.ts'

const { values } = parseArgs({
  options: {
    engine: { type: 'string' },
    threads: { type: 'string', default: '1' },
    listen: { type: 'string' },
    backend: { type: 'string', multiple: true },
    udp: { type: 'boolean' },
  },
})
const listen = endpoint(values.listen ?? '')
const protocol = values.udp ? 'UDP' : 'TCP'
const backends = (values.backend ?? []).map(text => backendAt(endpoint(text)))

const frontend: Frontend = {
  key: frontendKey(listen.address, listen.port, protocol),
  service: 'bench/bench',
  ip: listen.address,
  port: listen.port,
  protocol,
  name: '',
  backends,
}
const service: GlobalService = {
  key: 'bench/bench',
  namespace: 'bench',
  name: 'bench',
  local: undefined,
  members: [],
  settings: { global: true, shared: true, affinity: 'none', clusterOrder: [] },
  frontends: [frontend],
  backends,
  parked: [],
  changedAt: 0,
}

const createEngine = values.engine === 'native' ? createNativeEngine : createStreamsEngine
const engine = createEngine({
  chooser: inTurn(),
  clock: systemClock,
  log: silentLog,
  threads: Number(values.threads),
  options: {
    dial: { timeoutMs: 1000, attempts: 3, budgetMs: 5000 },
    idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
    drainMs: 1000,
    limits: { connections: 20_000, udpSessions: 10_000 },
  },
})
await engine.listen(frontend, service)
process.on('SIGTERM', () => {
  engine.destroy()
  process.exit()
})

function inTurn(): Chooser {
  let turn = 0
  return {
    admit: () => undefined,
    choose: flow => {
      const backend = backends[turn++ % backends.length]
      return backend && !flow.tried.includes(backend.key)
        ? { backend }
        : { refusal: { code: 'no-backend', why: 'tried' } }
    },
    visible: () => backends,
    settled: () => backends,
    connecting() {},
    result() {},
    carried() {},
    closed() {},
    refused() {},
  }
}

function endpoint(text: string): { address: string; port: number } {
  const parsed = parseEndpoint(text)
  if (!parsed) throw new Error(`"${text}" is not an address and port`)
  return parsed
}

function backendAt({ address, port }: { address: string; port: number }): Backend {
  return {
    key: backendKey('bench', address, port, protocol),
    destination: destinationOf(undefined, address, port, protocol),
    cluster: 'bench',
    remote: false,
    address,
    family: familyOf(address),
    port,
    protocol,
    ports: [],
    state: 'active',
    serving: true,
    health: 'unknown',
    weight: 100,
  }
}
