/** Child processes of a benchmark: started here, measured by /proc, stopped by their id. Linux only. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** Ticks of utime and stime in /proc; the kernel shows 100 a second to user space on every architecture Node runs on. */
const ticksPerSecond = 100

/** From a start to what is awaited of it. */
const startMs = 60_000

const running = new Set<Child>()

/** Stops everything started here. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map(child => child.stop()))
}

export class Child {
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
  }

  /**
   * Starts a command and waits until all `ports` of 127.0.0.1 accept, and until it is `ready`; rejects at once when a port
   * is taken already.
   */
  static async start(
    command: string,
    args: readonly string[],
    ports: readonly number[],
    ready: () => Promise<boolean> = async () => true,
  ): Promise<Child> {
    for (const port of ports) if (await accepts(port)) throw new Error(`port ${port} is taken; give another --port`)
    const spawned = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let complaint = ''
    spawned.stderr?.on('data', chunk => {
      complaint = (complaint + chunk).slice(-2000)
    })
    spawned.on('error', error => {
      complaint = error.message
    })
    const child = new Child(spawned)
    running.add(child)
    const deadline = performance.now() + startMs
    const listens = async () => (await Promise.all(ports.map(accepts))).every(Boolean)
    while (!((await listens()) && (await ready()))) {
      if (spawned.pid === undefined || spawned.exitCode !== null || performance.now() > deadline) {
        await child.stop()
        throw new Error(
          `${command} is not ready${ports.length > 0 ? ` on ${ports.join(', ')}` : ''}: ${complaint.trim() || 'it says nothing'}`,
        )
      }
      await wait(20)
    }
    return child
  }

  /** CPU seconds that the process and its descendants have used. */
  cpu(): number {
    return family(this.#process.pid).reduce((sum, pid) => sum + cpuOf(pid), 0)
  }

  /** CPU seconds of JavaScript's thread: the main one of a process of Node. To the nanosecond, from the scheduler. */
  mainThreadCpu(): number {
    return Number(readFileSync(`/proc/${this.#process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e9
  }

  /** KiB of user memory of the process and its descendants; a page that several share counts in parts. */
  memory(): number {
    return family(this.#process.pid).reduce((sum, pid) => sum + pssOf(pid), 0)
  }

  async stop(): Promise<void> {
    running.delete(this)
    if (this.#process.pid === undefined || this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const gone = once(this.#process, 'exit')
    const descendants = family(this.#process.pid).slice(1)
    this.#process.kill('SIGTERM')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 5000)
    await gone
    clearTimeout(timer)
    for (const pid of descendants) endOrphan(pid)
  }
}

function family(pid: number | undefined): number[] {
  if (pid === undefined) return []
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return [
      pid,
      ...children
        .split(' ')
        .filter(Boolean)
        .flatMap(child => family(Number(child))),
    ]
  } catch {
    return [pid]
  }
}

function cpuOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  } catch {
    return 0
  }
}

function pssOf(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])
}

/** A worker whose master has gone; one that has ended by itself is what we want. */
function endOrphan(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {}
}

function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
