/** The x-wing, the client of the demo: requests rebel-base in a loop, each time with a new DNS query and a new connection. */
import { Resolver } from 'node:dns/promises'
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Answer {
  /** `Cluster-1`, from the pod's answer. */
  readonly cluster: string
  readonly pod: string
}

export interface CallerOptions {
  readonly name: string
  readonly port: number
  /** `127.0.0.1:5353` */
  readonly dns: string
  /** Concurrent requests. */
  readonly workers: number
  /** Pause between two requests of one worker. */
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
  #pause: Promise<void> | undefined
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

  /** Calls `run` while no request is in progress. */
  async between<T>(run: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#pause = promise
    try {
      while (this.#inFlight > 0) await sleep(1)
      return await run()
    } finally {
      this.#pause = undefined
      resolve()
    }
  }

  async #work(): Promise<void> {
    while (!this.#stopped) {
      await this.#pause
      if (this.#pause) continue
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
