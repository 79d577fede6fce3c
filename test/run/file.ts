// Runs one test file in a process of its own and tells how it went.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Tally } from './tally.ts'

export interface Outcome {
  readonly file: string
  readonly tally: Tally
  readonly stderr: string
  readonly seconds: number
}

// tap ends a file that ran out of time by itself and names the test it hung in; a blocked event loop needs the kill.
const graceMs = 2000
// How long an exited file's output may stay open: a process it left behind holds it.
const leftoverMs = 1000

export async function runFile(file: string, options: { timeoutMs: number; signal: AbortSignal }): Promise<Outcome> {
  const { timeoutMs, signal } = options
  const started = performance.now()
  const tally = new Tally()
  let stderr = ''
  let timedOut = false
  let leftover = false

  // A process group of its own, so that what the test started and forgot ends with it.
  const child = spawn(process.execPath, [file], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAP_TIMEOUT: String(timeoutMs / 1000) },
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => tally.write(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })

  const stop = () => killGroup(child)
  signal.addEventListener('abort', stop)
  const deadline = setTimeout(() => {
    timedOut = true
    stop()
  }, timeoutMs + graceMs)
  let hanging: NodeJS.Timeout | undefined
  child.once('exit', () => {
    hanging = setTimeout(() => {
      leftover = true
      stop()
    }, leftoverMs)
  })

  const [code, killedBy] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  clearTimeout(deadline)
  clearTimeout(hanging)
  signal.removeEventListener('abort', stop)
  stop()

  tally.end(died())
  if (leftover) tally.fail('left a process behind that holds its output')
  return { file, tally, stderr, seconds: (performance.now() - started) / 1000 }

  function died(): string | undefined {
    if (timedOut) return saidSo(tally) ? undefined : `timed out after ${timeoutMs / 1000} s`
    if (killedBy !== null) return `ended by ${killedBy}`
    // tap itself exits with 1 when a test failed.
    return code === 0 || tally.failures.length > 0 ? undefined : `exited with ${code}`
  }
}

const saidSo = (tally: Tally): boolean => tally.failures.some(({ name }) => name.endsWith('timeout!'))

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The group is gone, which is what was wanted.
  }
}
