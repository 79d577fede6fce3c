/** Child processes of a benchmark: started here, measured by /proc, stopped by their id. Linux only. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** Ticks of utime and stime in /proc; the kernel shows 100 a second to user space on every architecture Node runs on. */
const ticksPerSecond = 100

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

  /** Starts a command and waits until all `ports` of 127.0.0.1 accept; rejects at once when one already does. */
  static async start(command: string, args: readonly string[], ports: readonly number[]): Promise<Child> {
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
    for (const port of ports) {
      const deadline = performance.now() + 10_000
      while (!(await accepts(port))) {
        if (spawned.pid === undefined || spawned.exitCode !== null || performance.now() > deadline) {
          await child.stop()
          throw new Error(`${command} does not listen on ${port}: ${complaint.trim() || 'it says nothing'}`)
        }
        await wait(50)
      }
    }
    return child
  }

  /** CPU seconds that the process and its descendants have used. */
  cpu(): number {
    return family(this.#process.pid).reduce((sum, pid) => sum + cpuOf(pid), 0)
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
