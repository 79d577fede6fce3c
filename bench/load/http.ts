/** HTTP load in a closed loop (each connection waits for its answer): wrk, and autocannon as a second opinion. */
import autocannon from 'autocannon'
import { stdoutOf } from './stdout.ts'

export interface Load {
  readonly path: string
  /** `keep-alive`: requests share connections. `close`: each request has a connection of its own. */
  readonly mode: 'keep-alive' | 'close'
  readonly connections: number
  readonly seconds: number
  /** Threads of wrk; 1 unless given. */
  readonly threads?: number
}

export interface Answered {
  readonly requests: number
  readonly failed: number
  readonly seconds: number
  readonly p99Ms: number
}

export async function wrk(port: number, { path, mode, connections, seconds, threads = 1 }: Load): Promise<Answered> {
  const close = mode === 'close' ? ['-H', 'Connection: close'] : []
  const args = [
    `-t${threads}`,
    `-c${connections}`,
    `-d${seconds}s`,
    '--latency',
    ...close,
    `http://127.0.0.1:${port}${path}`,
  ]
  const stdout = await stdoutOf('wrk', args)
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

/**
 * Keep-alive only. Where the server closes after each answer, autocannon 9 writes the next request on the old connection before
 * it sees the close, and again on the new one. Its queue of requests in flight then grows with each answer, so that every
 * latency comes out as half the length of the run, and servers get requests on closed connections.
 */
export async function cannon(
  port: number,
  { path, connections, seconds }: Load & { mode: 'keep-alive' },
): Promise<Answered> {
  const result = await autocannon({ url: `http://127.0.0.1:${port}${path}`, connections, duration: seconds })
  return {
    requests: result['2xx'],
    failed: result.errors + result.non2xx,
    seconds: result.duration,
    p99Ms: result.latency.p99,
  }
}
