/** The load of a benchmark: wrk where the machine has it, autocannon always. Closed loop: each connection waits for its answer. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import autocannon from 'autocannon'
import type { Body } from './contenders.ts'

export interface Load {
  readonly body: Body
  /** `keep-alive`: requests share connections. `close`: each request has a connection of its own. */
  readonly mode: 'keep-alive' | 'close'
  readonly connections: number
  readonly seconds: number
}

export interface Answered {
  readonly requests: number
  readonly failed: number
  readonly seconds: number
  readonly p99Ms: number
}

export type Generator = (port: number, load: Load) => Promise<Answered>

export async function wrk(port: number, load: Load): Promise<Answered> {
  const close = load.mode === 'close' ? ['-H', 'Connection: close'] : []
  const args = [
    '-t1',
    `-c${load.connections}`,
    `-d${load.seconds}s`,
    '--latency',
    ...close,
    `http://127.0.0.1:${port}${load.body}`,
  ]
  const { stdout } = await promisify(execFile)('wrk', args)
  const total = /(\d+) requests in ([\d.]+)(s|m)/.exec(stdout)
  const p99 = /99%\s+([\d.]+)(us|ms|s)/.exec(stdout)
  const broken = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(stdout)
  return {
    requests: Number(total?.[1] ?? 0),
    failed: [...(broken?.slice(1) ?? []), refused?.[1] ?? '0'].reduce((sum, count) => sum + Number(count), 0),
    seconds: Number(total?.[2] ?? 0) * (total?.[3] === 'm' ? 60 : 1),
    p99Ms: Number(p99?.[1] ?? 0) * (p99?.[2] === 'us' ? 0.001 : p99?.[2] === 's' ? 1000 : 1),
  }
}

export async function cannon(port: number, load: Load): Promise<Answered> {
  const result = await autocannon({
    url: `http://127.0.0.1:${port}${load.body}`,
    connections: load.connections,
    duration: load.seconds,
    ...(load.mode === 'close' ? { headers: { connection: 'close' } } : {}),
  })
  return {
    requests: result['2xx'],
    failed: result.errors + result.non2xx,
    seconds: result.duration,
    p99Ms: result.latency.p99,
  }
}
