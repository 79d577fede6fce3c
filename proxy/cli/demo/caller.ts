/** The x-wing: asks rebel-base in a loop, each time by a new DNS query and a new connection, as `curl rebel-base` would. */
import { Resolver } from 'node:dns/promises'
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Answer {
  /** `Cluster-1`, as the pod says of itself. */
  readonly cluster: string
  readonly pod: string
}

export interface CallerOptions {
  readonly name: string
  readonly port: number
  /** `127.0.0.1:5353` */
  readonly dns: string
  /** Requests under way at once. */
  readonly workers: number
  /** Between two requests of one worker. */
  readonly pauseMs: number
}

export class Caller {
  sent = 0
  readonly answers: Answer[] = []
  readonly failures: string[] = []
  #options: CallerOptions
  #resolver = new Resolver({ timeout: 2000, tries: 2 })
  #stopped = false
  #inFlight = 0
  #gate: Promise<void> | undefined
  #workers: Promise<void>[] = []

  constructor(options: CallerOptions) {
    this.#options = options
    this.#resolver.setServers([options.dns])
  }

  start(): void {
    this.#workers = Array.from({ length: this.#options.workers }, () => this.#work())
  }

  get stopped(): boolean {
    return this.#stopped
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#workers)
  }

  /** Runs something between two requests: nothing is under way while it lasts. */
  async between<T>(run: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#gate = promise
    try {
      while (this.#inFlight > 0) await sleep(1)
      return await run()
    } finally {
      this.#gate = undefined
      resolve()
    }
  }

  async #work(): Promise<void> {
    while (!this.#stopped) {
      await this.#gate
      if (this.#gate) continue
      this.#inFlight++
      await this.#ask()
      this.#inFlight--
      await sleep(this.#options.pauseMs)
    }
  }

  async #ask(): Promise<void> {
    this.sent++
    try {
      const [address] = await this.#resolver.resolve4(this.#options.name)
      if (address === undefined) throw new Error('DNS gave no address')
      this.answers.push(await request(address, this.#options.port, this.#options.name))
    } catch (error) {
      this.failures.push(error instanceof Error ? error.message : String(error))
    }
  }
}

function request(host: string, port: number, name: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = get({ host, port, headers: { host: name }, agent: false, timeout: 10_000 }, response => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', text => {
        body += text
      })
      response.on('error', reject)
      response.on('end', () => {
        const cluster = /"Cluster": "([^"]+)"/.exec(body)?.[1]
        if (response.statusCode === 200 && cluster) resolve({ cluster, pod: String(response.headers['x-pod']) })
        else reject(new Error(`status ${response.statusCode}: ${body.slice(0, 80)}`))
      })
    })
    call.on('timeout', () => call.destroy(new Error('no answer within 10 s')))
    call.on('error', reject)
  })
}
