/** One stream over a path of 100 ms between two network namespaces: node:http2 by itself, and tunnels of both engines. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { program } from '../proxy/program.ts'
import { alternate } from '../proxy/rounds.ts'
import type { Table } from '../report/table.ts'
import { type Certificates, startNear, writePair } from './contenders.ts'
import type { Setting } from './measures.ts'

const [here, there] = ['10.99.0.1', '10.99.0.2']
const oneWayMs = 50
/** A transfer is at its full rate by then. */
const settleMs = 4000

export const byDefault = 'node:http2, its defaults'

export async function measureDistance(setting: Setting, certificates: Certificates): Promise<Table> {
  const { place, rounds, seconds } = setting
  const [plainPort, backendPort, gatewayPort] = [place.port(), place.port(), place.port()]
  const pair = writePair(place, certificates, {
    backends: [backendPort],
    gateway: `${there}:${gatewayPort}`,
  })
  const side = fileURLToPath(new URL('far-side.ts', import.meta.url))
  const up = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
  const given = [there, pair.gatewayFile, String(plainPort), String(backendPort)]
  const far = spawn('unshare', [...up, process.execPath, side, ...given], { stdio: ['pipe', 'pipe', 'inherit'] })
  await line(far)
  const relay = spawn(program('far', place), [String(far.pid), String(oneWayMs), here, there], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await line(relay)
  far.stdin.write('go\n')
  await line(far)
  const rows = [{ name: byDefault, measure: () => plain(plainPort, seconds) }]
  for (const engine of ['streams', 'native'] as const) {
    const near = await startNear(pair, engine, place)
    rows.push({ name: `starlane, tunnel, ${engine}`, measure: () => through(near.port, seconds) })
  }
  const measured = await alternate(rows, rounds, async ({ measure }) => {
    const megabytes = await measure()
    return { secondsPerGB: 1000 / megabytes, megabytes }
  })
  far.stdin.end()
  await once(far, 'exit')
  relay.kill()
  return {
    key: 'distance',
    title: `One stream over ${2 * oneWayMs} ms`,
    how: `Two network namespaces, joined by TUN devices whose packets are held back (load/far.c); one download, ${seconds} s after ${settleMs / 1000} s.`,
    columns: [
      { key: 'secondsPerGB', title: 's/GB', digits: 1 },
      { key: 'megabytes', title: 'MB/s', digits: 2 },
    ],
    peers: [byDefault],
    rows: measured,
  }
}

async function line(child: ChildProcess): Promise<void> {
  if (!child.stdout) throw new Error('no output')
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the far side has ended with ${code}`)
  })
  await Promise.race([once(child.stdout, 'data'), ended])
}

async function plain(port: number, seconds: number): Promise<number> {
  const session = connectHttp2(`http://${there}:${port}`)
  session.on('error', () => {})
  const rate = await megabytesPerSecond(session.request({ ':path': '/' }), seconds)
  session.destroy()
  return rate
}

async function through(port: number, seconds: number): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  const rate = await megabytesPerSecond(socket, seconds)
  socket.destroy()
  return rate
}

async function megabytesPerSecond(
  from: { on(event: 'data', listen: (data: Buffer) => void): unknown },
  seconds: number,
): Promise<number> {
  let bytes = 0
  from.on('data', data => {
    bytes += data.length
  })
  await wait(settleMs)
  const [before, since] = [bytes, performance.now()]
  await wait(seconds * 1000)
  return (bytes - before) / (performance.now() - since) / 1000
}
