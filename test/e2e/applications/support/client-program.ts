/** Clients that are programs of Node: one process for all calls of a place, since each takes long to start, and one for a session. */
import type { Application, Place, Session, Target } from './application.ts'
import { type Lines, patienceMs } from './processes.ts'

/** Answers come in any order, each with the number of its question. */
class Program {
  readonly #lines: Lines
  readonly #waiting = new Map<string, (answer: string) => void>()
  #count = 0
  #over: Error | undefined

  constructor(lines: Lines) {
    this.#lines = lines
    void this.#read()
  }

  ask(word: string, to = '', timeoutMs = patienceMs): Promise<string> {
    const id = `${++this.#count}`
    return new Promise((resolve, reject) => {
      if (this.#over) return reject(this.#over)
      const timer = setTimeout(() => reject(new Error(`${word} ${to}: no answer within ${timeoutMs} ms`)), timeoutMs)
      this.#waiting.set(id, answer => {
        clearTimeout(timer)
        const [result, ...text] = answer.split(' ')
        if (result === 'ok') resolve(text.join(' '))
        else reject(new Error(`${word} ${to}: ${text.join(' ')}`))
      })
      this.#lines.say(`${word} ${id} ${to}`)
    })
  }

  kill(): Promise<unknown> {
    return this.#lines.kill()
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const [, id = '', answer = ''] = await this.#lines.hear(/^(\d+) (.*)$/, 600_000)
        this.#waiting.get(id)?.(answer)
        this.#waiting.delete(id)
      }
    } catch (error) {
      this.#over = error as Error
      for (const answer of this.#waiting.values()) answer(`failed ${this.#over.message}`)
    }
  }
}

/** `once` of an application whose client is this program. */
export function callsBy(file: string): Application['once'] {
  const programs = new WeakMap<Place, Promise<Program>>()
  return async (place, { host, port }) => {
    const program = programs.get(place) ?? started(place, file)
    programs.set(place, program)
    return (await program).ask('call', `${host}:${port}`)
  }
}

/** `session` of an application whose client is this program. */
export function sessionBy(file: string, ...rest: string[]) {
  return async (place: Place, { host, port }: Target): Promise<Session> => {
    const program = await started(place, file, host, `${port}`, ...rest)
    return { use: timeoutMs => program.ask('say', '', timeoutMs), close: () => program.kill() }
  }
}

async function started(place: Place, ...command: string[]): Promise<Program> {
  const lines = place.open([process.execPath, ...command])
  await lines.hear(/^ready$/)
  return new Program(lines)
}
