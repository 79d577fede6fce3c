/** Commands in a namespace: one that runs to its end, and one that stays and is spoken to line by line. */
import { type ChildProcess, spawn } from 'node:child_process'
import { globSync, readFileSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** How long to wait for what is sure to come, on a machine that is busy with other things. */
export const patienceMs = 60_000

export interface RunOptions {
  readonly timeoutMs?: number
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Resolves with the standard output; rejects where it exits with another code than 0, or takes too long. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { timeoutMs = patienceMs, input = '', env = {} } = options
  const [file = '', ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: 'pipe', env: { ...process.env, ...env } })
    let out = ''
    let errors = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      out += text
    })
    child.stderr.setEncoding('utf8').on('data', text => {
      errors = (errors + text).slice(-2000)
    })
    child.stdin.on('error', () => {}).end(input)
    const shown = words(command)
    const timer = setTimeout(() => {
      for (const id of family(child.pid)) signal(id, 'SIGKILL')
      reject(new Error(`${shown}: no end within ${timeoutMs} ms; ${errors.trim()}`))
    }, timeoutMs)
    child.on('error', reject)
    child.on('close', code => {
      clearTimeout(timer)
      if (code === 0) resolve(out)
      else reject(new Error(`${shown}: exited with ${code}; ${errors.trim()} ${out.slice(-300).trim()}`.trim()))
    })
  })
}

/** A process that is spoken to by lines. */
export class Lines {
  readonly child: ChildProcess
  /** Resolves with the code, or the signal, when it has exited. */
  readonly exited: Promise<number | string>
  readonly #command: readonly string[]
  readonly #heard: string[] = []
  #errors = ''
  #over = false
  #wake: () => void = () => {}

  constructor(command: readonly string[], options: { readonly env?: Readonly<Record<string, string>> } = {}) {
    const [file = '', ...args] = command
    this.#command = command
    const child = spawn(file, args, { stdio: 'pipe', env: { ...process.env, ...options.env } })
    this.child = child
    let rest = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      this.#heard.push(...lines)
      this.#wake()
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000)
    })
    child.stdin.on('error', () => {})
    this.exited = new Promise(resolve => {
      child.on('error', error => resolve(error.message))
      child.on('close', (code, name) => resolve(code ?? `${name}`))
    })
    void this.exited.then(() => {
      this.#over = true
      this.#wake()
    })
  }

  say(line: string): void {
    this.child.stdin?.write(`${line}\n`)
  }

  /** The next line that matches; those before it are left out. Rejects when the process exits first, or after the time. */
  async hear(expected: RegExp, timeoutMs = patienceMs): Promise<RegExpExecArray> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      for (let line = this.#heard.shift(); line !== undefined; line = this.#heard.shift()) {
        const found = expected.exec(line)
        if (found) return found
      }
      const shown = words(this.#command)
      if (this.#over) throw new Error(`${shown}: exited with ${await this.exited}; ${this.#errors.trim()}`)
      const leftMs = deadline - performance.now()
      if (leftMs <= 0) throw new Error(`${shown}: no ${expected} within ${timeoutMs} ms; ${this.#errors.trim()}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, leftMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  get errors(): string {
    return this.#errors
  }

  kill(): Promise<unknown> {
    for (const id of family(this.child.pid)) signal(id, 'SIGKILL')
    return this.exited
  }
}

/** A process and all its descendants. */
export function family(id: number | undefined): number[] {
  if (id === undefined) return []
  try {
    const children = readFileSync(`/proc/${id}/task/${id}/children`, 'utf8').trim()
    return [id, ...(children === '' ? [] : children.split(' ').flatMap(child => family(Number(child))))]
  } catch {
    return [] // it has exited
  }
}

export function signal(id: number, name: NodeJS.Signals): void {
  try {
    process.kill(id, name)
  } catch {} // it has exited
}

/** The path of a program on the PATH, or where Debian has servers. */
export function where(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', ...globSync('/usr/lib/postgresql/*/bin')]
  const files = folders.map(folder => join(folder, program))
  return files.find(file => statSync(file, { throwIfNoEntry: false })?.isFile())
}

/** A command as it is shown in messages: without the way into its namespace. */
function words(command: readonly string[]): string {
  return command
    .slice(command.lastIndexOf('--') + 1)
    .join(' ')
    .slice(0, 200)
}
