/** 10,000 frontends with 100,000 endpoints beside 10 with 100: cost of `choose` and of a connection, memory, time to listen. */
import { fileURLToPath } from 'node:url'
import { stdoutOf } from '../load/stdout.ts'
import { installed } from '../report/machine.ts'
import type { Sample, Table } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { objects, startProduct } from './contenders.ts'
import { perConnection } from './native-decision-load.ts'
import type { Plan, Setting } from './plan.ts'
import { alternate } from './rounds.ts'

const perFrontend = 10
const few = '10 frontends'
/** Each round starts the product again with all its frontends. */
const maxRounds = 3

export const scale: Plan = {
  name: 'scale',
  title: '10,000 frontends and 100,000 endpoints',
  lacks: () => undefined,
  async run(setting) {
    const tables = [await chooseCost(setting)]
    return installed('nginx') && installed('wrk') ? [...tables, await connections(setting)] : tables
  },
}

async function chooseCost({ rounds }: Setting): Promise<Table> {
  const script = fileURLToPath(new URL('choose-child.ts', import.meta.url))
  const sizes = [
    { name: few, args: ['10', '10'] },
    { name: '10,000 frontends', args: ['10000', '10'] },
    { name: '10,000, all in turn', args: ['10000', '10000'] },
  ]
  return {
    ...{ key: 'choose', title: 'Cost of choose', peers: [few] },
    how: 'The chain with the default plugins and ten endpoints behind each frontend, without sockets. Chooses for ten of the frontends in turn, then for all of them, which is the worst case for the CPU caches.',
    columns: [
      { key: 'ns', title: 'ns/choose', digits: 0 },
      { key: 'heapMb', title: 'heap, MiB', digits: 1 },
      { key: 'firstMs', title: 'first choose of every frontend, total ms', digits: 1 },
    ],
    rows: await alternate<(typeof sizes)[number]>(
      sizes,
      rounds,
      async ({ args }) => JSON.parse(await stdoutOf(process.execPath, ['--expose-gc', script, ...args])) as Sample,
    ),
  }
}

async function connections(setting: Setting): Promise<Table> {
  const backends = await startHttp(setting.place)
  const sizes = [
    { name: few, count: 10 },
    { name: '10,000 frontends', count: 10_000 },
  ]
  return {
    ...{ key: 'scale', title: 'A connection', peers: [few] },
    how: `The whole product with the native engine, listening on all frontends; wrk, a connection per request to one of them, ${setting.connections} at a time. Health checks are off, since the other endpoints do not exist.`,
    columns: [
      { key: 'mainThreadUs', title: 'JavaScript thread us/connection', digits: 2 },
      { key: 'cpuUs', title: 'CPU us/connection, all threads', digits: 1 },
      { key: 'readyS', title: 'time until all listen, s', digits: 2 },
      { key: 'memoryMb', title: 'memory, MiB', digits: 0 },
    ],
    rows: await alternate<(typeof sizes)[number]>(sizes, Math.min(setting.rounds, maxRounds), ({ count }) =>
      connectionAmong(count, backends, setting),
    ),
  }
}

/** Cost of a connection to one of `count` frontends. */
async function connectionAmong(count: number, backends: readonly number[], setting: Setting): Promise<Sample> {
  const { place, connections, seconds } = setting
  const port = place.port()
  const others = Array.from({ length: count - 1 }, (_, n) => idleService(n, port))
  const manifests = [
    ...objects({ name: 'bench', address: '127.0.0.1', port }, { protocol: 'TCP', backends }),
    ...others.flat(),
  ]
  const begun = performance.now()
  const child = await startProduct(
    place,
    manifests,
    'proxy: { engine: native, limits: { connections: 20000 } }\nhealth: { active: { type: none } }\n',
  )
  try {
    const readyS = (performance.now() - begun) / 1000
    const contender = { name: '', port, child }
    await perConnection(contender, connections, 1)
    return { readyS, ...(await perConnection(contender, connections, seconds)), memoryMb: child.memory() / 1024 }
  } finally {
    await child.stop()
  }
}

/** A service that listens and gets no traffic. */
function idleService(n: number, port: number): object[] {
  const name = `service-${n}`
  const at = { name, address: `127.1.${n >> 8}.${n & 255}`, port }
  const [service, slice] = objects(at, { protocol: 'TCP', backends: [8080] }) as [object, object]
  const endpoints = Array.from({ length: perFrontend }, (_, i) => {
    const address = n * perFrontend + i
    return {
      addresses: [`10.${16 + (address >> 16)}.${(address >> 8) & 255}.${address & 255}`],
      conditions: { ready: true },
    }
  })
  return [service, { ...slice, endpoints }]
}
