/** Memory of an idle connection: growth of user memory from 1,000 to 6,000 connections, each of which served one request. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { notInstalled } from '../report/machine.ts'
import type { Row, Sample } from '../report/table.ts'
import { startHttp } from './backends.ts'
import { asked, type Contender, type Name, ofTcp, start } from './contenders.ts'
import type { Plan, Setting } from './plan.ts'
import { alternate } from './rounds.ts'

const names = ofTcp.filter(name => name !== 'direct')
const first = 1000
const more = 5000
/** Enough for the slope; each round starts every contender again, and takes five minutes. */
const maxRounds = 2
/** V8 looks every eight. */
const quietSeconds = 9

export const idle: Plan = {
  name: 'idle',
  title: 'Idle connections',
  lacks: () => notInstalled('nginx'),
  async run(setting) {
    const backends = await startHttp(setting.place)
    const rounds = Math.min(setting.rounds, maxRounds)
    const contenders = asked(names, setting.among).map((name): { name: Name } => ({ name }))
    return [
      {
        key: 'idle',
        title: `${more.toLocaleString('en')} idle connections`,
        how: `User memory (PSS) per connection: the growth from ${first} to ${first + more} connections, each of which served one request, in a new process that is idle before, between and after: until its memory has not changed for ${quietSeconds} s; ${rounds} rounds. Kernel slab is that of the whole machine, so it counts the sockets of client, proxy and backend.`,
        columns: [
          { key: 'userKb', title: 'user memory, KiB/connection', digits: 2 },
          { key: 'totalMb', title: `user memory with ${first + more}, MiB`, digits: 1 },
          { key: 'slabKb', title: 'kernel slab, KiB/connection', digits: 1 },
        ],
        peers: ['haproxy', 'nginx'],
        rows: await alternate<{ name: Name }>(contenders, rounds, ({ name }) => apart(name, backends, setting)),
      },
    ]
  },
}

/** In a new process each round, so that memory of an earlier round does not count. */
async function apart(name: Name, backends: readonly number[], setting: Setting): Promise<Sample> {
  const [contender] = (await start([name], { protocol: 'TCP', backends }, setting)) as [Contender | Row]
  if ('note' in contender) throw new Error(contender.note)
  const { child, port } = contender as Contender
  const open: Socket[] = []
  try {
    const memory = () => child?.memory() ?? 0
    await settled(memory)
    await openMany(open, port, first)
    const before = await settled(memory)
    const slabBefore = slab()
    await openMany(open, port, more)
    const after = await settled(memory)
    return {
      userKb: (after - before) / more,
      totalMb: after / 1024,
      slabKb: (slab() - slabBefore) / more,
    }
  } finally {
    for (const socket of open) socket.destroy()
    await child?.stop()
  }
}

async function openMany(open: Socket[], port: number, count: number): Promise<void> {
  const atOnce = 100
  for (let i = 0; i < count; i += atOnce) {
    open.push(...(await Promise.all(Array.from({ length: atOnce }, () => served(port)))))
  }
}

async function served(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /small HTTP/1.1\r\nHost: bench\r\n\r\n')
  const signal = AbortSignal.timeout(10_000)
  await once(socket, 'data', { signal })
  socket.on('error', () => {})
  return socket
}

/** Waits until the figure, in KiB, has not changed for longer than V8 takes to see that a process is idle; half a minute at most. */
async function settled(read: () => number): Promise<number> {
  let last = read()
  let quiet = 0
  for (let seconds = 0; seconds < 30 && quiet < quietSeconds; seconds++) {
    await wait(1000)
    const now = read()
    quiet = Math.abs(now - last) < 128 ? quiet + 1 : 0
    last = now
  }
  return last
}

/** Kernel slab memory of the whole machine in KiB. */
function slab(): number {
  return Number(/^Slab:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1])
}
