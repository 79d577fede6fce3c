/** 10,000 frontends and 100,000 endpoints against 10 and 100: a choice, a connection, memory, the time to listen. */
import { fileURLToPath } from 'node:url'
import { say } from '../load/say.ts'
import { installed } from '../report/machine.ts'
import type { Sample, Table } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { objects, startProduct } from './contenders.ts'
import { perConnection } from './native-decision-load.ts'
import type { Plan, Setting } from './plan.ts'
import { alternate } from './rounds.ts'

const perFrontend = 10
const few = '10 frontends'
/** Each round starts the product anew, with all its frontends. */
const mostRounds = 3

export const scale: Plan = {
  name: 'scale',
  title: '10,000 frontends and 100,000 endpoints',
  lacks: () => undefined,
  async run(setting) {
    const tables = [await choices(setting)]
    return installed('nginx') && installed('wrk') ? [...tables, await connections(setting)] : tables
  },
}

async function choices({ rounds }: Setting): Promise<Table> {
  const script = fileURLToPath(new URL('choice.ts', import.meta.url))
  const sizes = [
    { name: few, args: ['10', '10'] },
    { name: '10,000 frontends', args: ['10000', '10'] },
    { name: '10,000, all in turn', args: ['10000', '10000'] },
  ]
  return {
    ...{ key: 'choice', title: 'A choice', peers: [few] },
    how: 'The chain with the default plugins, ten endpoints behind each frontend, no socket. Ten of the frontends are chosen for in turn, then all of them, which is as much as the caches of the processor can be missed.',
    columns: [
      { key: 'ns', title: 'ns/choice', digits: 0 },
      { key: 'heapMb', title: 'heap, MiB', digits: 1 },
      { key: 'firstMs', title: 'first choice in each, ms in all', digits: 1 },
    ],
    rows: await alternate<(typeof sizes)[number]>(
      sizes,
      rounds,
      async ({ args }) => JSON.parse(await say(process.execPath, ['--expose-gc', script, ...args])) as Sample,
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
    how: `The whole product with the engine native, listening on all of them; a connection per request by wrk to one, ${setting.connections} at a time. Health checks are off, since nobody stands behind the others.`,
    columns: [
      { key: 'decisionUs', title: "us/connection on JavaScript's thread", digits: 2 },
      { key: 'cpuUs', title: 'CPU us/connection, all threads', digits: 1 },
      { key: 'readyS', title: 's until all listen', digits: 2 },
      { key: 'memoryMb', title: 'memory, MiB', digits: 0 },
    ],
    rows: await alternate<(typeof sizes)[number]>(sizes, Math.min(setting.rounds, mostRounds), ({ count }) =>
      among(count, backends, setting),
    ),
  }
}

async function among(count: number, backends: readonly number[], setting: Setting): Promise<Sample> {
  const { place, connections, seconds } = setting
  const port = place.port()
  const others = Array.from({ length: count - 1 }, (_, n) => unreached(n, port))
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

/** A service that listens and that nobody calls. */
function unreached(n: number, port: number): object[] {
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
