/** Whether a stream that is not read holds up others: latency beside connections that ask for a lot and read nothing. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { stdoutOf } from '../load/stdout.ts'
import { startHttp } from '../proxy/backends.ts'
import { program } from '../proxy/program.ts'
import { alternate } from '../proxy/rounds.ts'
import type { Row, Table } from '../report/table.ts'
import { type Certificates, type Pair, startPairs } from './contenders.ts'
import type { Setting } from './measures.ts'

/** Of 1 MiB each, on each connection that is not read: more than any window. */
const answers = 64
const stalled = 8
/** Windows and buffers are full by then. */
const fillMs = 1500

interface Beside extends Pair {
  readonly stalled: number
}

export async function measureSlow(setting: Setting, certificates: Certificates): Promise<Table> {
  const { place, rounds, seconds, connections, rate } = setting
  const pairs = await startPairs(
    ['starlane, tunnel, native', 'starlane, tunnel, streams'],
    await startHttp(place),
    place,
    certificates,
  )
  const generator = program('open-loop', place)
  const args = ['/small', connections, rate, seconds].map(String)
  const rows = pairs.flatMap((pair): (Beside | Row)[] =>
    'port' in pair
      ? [0, stalled].map(
          (count): Beside => ({
            ...pair,
            name: count === 0 ? pair.name : `${pair.name}, beside ${count} that nobody reads`,
            stalled: count,
          }),
        )
      : [pair],
  )
  return {
    key: 'slow',
    title: 'Beside streams that nobody reads',
    how: `${rate} requests per second over ${connections} connections, while ${stalled} others of the same tunnel ask for ${answers} MiB each and read nothing.`,
    columns: [
      { key: 'p50Us', title: 'p50 us', digits: 0 },
      { key: 'p99Us', title: 'p99 us', digits: 0 },
      { key: 'failed', title: 'failed', digits: 0, sum: true },
    ],
    peers: pairs.map(({ name }) => name),
    rows: await alternate<Beside>(rows, rounds, async ({ port, stalled }) => {
      const idle = await Promise.all(Array.from({ length: stalled }, () => unread(port)))
      try {
        if (stalled > 0) await wait(fillMs)
        return JSON.parse(await stdoutOf(generator, [String(port), ...args]))
      } finally {
        for (const socket of idle) socket.resetAndDestroy()
      }
    }),
  }
}

async function unread(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  socket.pause()
  socket.on('error', () => {})
  socket.write('GET /large HTTP/1.1\r\nHost: bench\r\n\r\n'.repeat(answers))
  return socket
}
