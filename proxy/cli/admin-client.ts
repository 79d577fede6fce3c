/** Finds the admin address of a running Starlane and asks it over HTTP. */
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import { canonicalAddress, endpointText } from '../model/address.ts'
import { MeshError, messageOf } from '../model/error.ts'
import type { FlowEvent } from '../model/flow-record.ts'
import type { Rehearsal, RehearsalRequest } from '../model/flows/rehearsal.ts'
import type { Traffic } from '../model/flows/traffic.ts'
import { get, request } from '../model/program/http.ts'
import { didYouMean } from '../model/text/spelling.ts'
import type { Explanation, NameExplanation, ServiceView, Status } from '../model/views.ts'
import { EventReader } from './see/event-stream.ts'
import { type Io, printable } from './terminal/io.ts'

export const defaultAddress = '127.0.0.1:9911'

/** The options by which a command finds the running Starlane. */
export interface AdminOptions {
  readonly admin?: string
  readonly config?: string
}

export function addAdminOptions(command: Command): Command {
  return command
    .option(
      '--admin <address>',
      `admin address of the running Starlane (default: ${defaultAddress}, or $STARLANE_ADMIN)`,
    )
    .option('-c, --config <file>', 'read the admin address from this configuration file')
}

/** A client of the admin server. Control characters are removed from every string in its answers. */
export class AdminClient {
  readonly address: string
  /** For messages: the address, or what it leads to. */
  readonly name: string
  readonly #base: URL

  constructor(address: string, name?: string) {
    const base = URL.parse(address.includes('://') ? address : `http://${address}`)
    if (!base?.hostname || base.protocol !== 'http:') {
      throw new MeshError('USAGE', `--admin ${address} is not an http address; write --admin ${defaultAddress}`)
    }
    this.address = base.host
    this.name = name ?? base.host
    this.#base = base
  }

  status(): Promise<Status> {
    return this.#required('/v1/status', status => Array.isArray(status.components))
  }

  services(): Promise<readonly ServiceView[]> {
    return this.#required('/v1/services', Array.isArray)
  }

  service(namespace: string, name: string): Promise<ServiceView | undefined> {
    return this.#get(`/v1/services/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`)
  }

  explain(namespace: string, name: string, from: string | undefined): Promise<Explanation | undefined> {
    const query = from === undefined ? '' : `?from=${encodeURIComponent(from)}`
    return this.#get(`/v1/explain/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}${query}`)
  }

  dns(name: string, type: string, from: string | undefined): Promise<NameExplanation> {
    const query = new URLSearchParams({ name, type, ...(from === undefined ? {} : { from }) })
    return this.#required(`/v1/dns?${query}`, ({ way }) => Array.isArray(way))
  }

  /** Rejects with USAGE if the request makes no sense there. */
  async rehearse(request: RehearsalRequest): Promise<Rehearsal> {
    const path = '/v1/rehearse'
    const answer = await this.#get<Rehearsal>(path, JSON.stringify(request))
    if (Array.isArray(answer?.changes)) return answer
    throw this.#notStarlane(`has no ${path}`)
  }

  traffic(): Promise<Traffic> {
    return this.#required('/v1/traffic', ({ services }) => Array.isArray(services))
  }

  /** Recorded flows, oldest first. */
  async flows(query: URLSearchParams): Promise<FlowEvent[]> {
    const { status, text } = await this.#ask(`/v1/flows?${query}`)
    if (status !== 200) throw this.#refused(status, text)
    return text.split('\n').flatMap(line => (line === '' ? [] : [this.#parsed(line) as FlowEvent]))
  }

  /** Calls `push` with flows as they pass. Resolves when the server or the signal ends it. */
  async follow(
    query: URLSearchParams,
    push: (events: readonly FlowEvent[]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const url = new URL(`/v1/flows?${new URLSearchParams([...query, ['follow', 'true']])}`, this.#base)
    const response = await open(url, signal).catch(error => {
      throw this.#unreachable(error)
    })
    if (response.statusCode !== 200) throw this.#refused(response.statusCode ?? 0, await text(response))
    const reader = new EventReader()
    response.setEncoding('utf8')
    try {
      for await (const piece of response) push(reader.read(piece).map(data => this.#parsed(data) as FlowEvent))
    } catch (error) {
      if (!signal.aborted) throw this.#unreachable(error)
    }
  }

  /** What `/readyz` says, of the process with this name if one is given. */
  async ready(instance: string | undefined): Promise<{ readonly ok: boolean; readonly text: string }> {
    const query = instance === undefined ? '' : `?${new URLSearchParams({ instance })}`
    const { status, text } = await this.#ask(`/readyz${query}`)
    return { ok: status === 200, text: printable(text.trim()) }
  }

  /** Whatever JSON a path gives. */
  document(path: string): Promise<object> {
    return this.#required(path, () => true)
  }

  async text(path: string): Promise<string> {
    const { status, text } = await this.#ask(path)
    if (status === 200) return text
    throw this.#notStarlane(`has no ${path}`)
  }

  /** Checks the shape too: another program that answers with JSON may listen there. */
  async #required<T extends object>(path: string, isOurs: (answer: T) => boolean): Promise<T> {
    const answer = await this.#get<T>(path)
    if (Object(answer) === answer && isOurs(answer as T)) return answer as T
    throw this.#notStarlane(`has no ${path.replace(/\?.*/, '')}`)
  }

  /** Undefined when the server answers that the object does not exist. A bad request is an error of the command line. */
  async #get<T>(path: string, body?: string): Promise<T | undefined> {
    const { status, text } = await this.#ask(path, body)
    if (status === 200) return this.#parsed(text) as T
    const { error } = Object(this.#parsed(text)) as { error?: object }
    if (status === 404 && error) return undefined
    throw this.#refused(status, text)
  }

  #refused(status: number, text: string): MeshError {
    const { error } = Object(this.#parsed(text)) as { error?: { code?: string; message?: string } }
    if (status === 400 && error?.code === 'BAD_REQUEST') return new MeshError('USAGE', String(error.message))
    return this.#notStarlane(`answered with status ${status}: ${error?.message ?? 'no reason given'}`)
  }

  async #ask(path: string, body?: string): Promise<{ status: number; text: string }> {
    try {
      return await fetchText(new URL(path, this.#base), body)
    } catch (error) {
      throw this.#unreachable(error)
    }
  }

  #unreachable(error: unknown): MeshError {
    return new MeshError(
      'ADMIN_UNREACHABLE',
      `no Starlane answers at ${this.name} (${reasonOf(error)}): start one with "starlane run -c FILE", ` +
        'or give its address with --admin ADDRESS or -c FILE',
      { cause: error },
    )
  }

  #parsed(text: string): unknown {
    try {
      return JSON.parse(text, (_, value) => (typeof value === 'string' ? printable(value) : value))
    } catch {
      throw this.#notStarlane('did not answer with JSON')
    }
  }

  #notStarlane(what: string): MeshError {
    const message = `the server at ${this.address} ${what}; give the admin address of Starlane with --admin ADDRESS`
    return new MeshError('ADMIN_UNREACHABLE', message)
  }
}

/** The error for an unknown service, with a suggestion: the same name in another namespace, or a similar name. */
export async function noService(admin: AdminClient, namespace: string, name: string): Promise<string> {
  const all = await admin.services()
  const asked = `${namespace}/${name}`
  const elsewhere = all.filter(service => service.name === name).map(service => `${service.namespace}/${name}`)
  const hint =
    elsewhere.length > 0
      ? `; there is ${elsewhere.slice(0, 3).join(', ')}`
      : didYouMean(
          asked,
          all.map(service => `${service.namespace}/${service.name}`),
        )
  return `there is no service ${asked}${hint}${hint.endsWith('?') ? '' : ';'} "starlane services" lists all services`
}

/** For a host with several addresses Node gives an AggregateError with a code and an empty message. */
function reasonOf(error: unknown): string {
  return messageOf(error) || (error as NodeJS.ErrnoException).code || 'no reason given'
}

/** Not `fetch`, which blocks some ports, such as 6000. */
function fetchText(url: URL, body?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = body === undefined ? {} : { method: 'POST', headers: headersOf(body) }
    const signal = AbortSignal.timeout(body === undefined ? 10_000 : 60_000)
    const asked = request(url, { agent: false, signal, ...sent }, response => {
      text(response).then(text => resolve({ status: response.statusCode ?? 0, text }), reject)
    })
    asked.once('error', reject)
    asked.end(body)
  })
}

/** The head of an answer that goes on. It has ten seconds to come. */
function open(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, signal, headers: { accept: 'text/event-stream' } }, resolve)
    request.setTimeout(10_000, () => request.destroy(new Error('no answer within 10 s')))
    request.once('error', reject)
  })
}

function headersOf(body: string): Record<string, string | number> {
  return { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
}

/** Uses --admin, else the address in --config, else $STARLANE_ADMIN, else the default address. */
export async function connectAdmin(options: AdminOptions, io: Io): Promise<AdminClient> {
  return new AdminClient(options.admin ?? (await configured(options, io)) ?? io.env.STARLANE_ADMIN ?? defaultAddress)
}

async function configured({ config }: AdminOptions, io: Io): Promise<string | undefined> {
  if (config === undefined) return undefined
  const { loadConfig } = await import('../config/load.ts')
  const { address, port } = (await loadConfig(config, io.env)).config.admin.listen
  if (port === 0) throw new MeshError('USAGE', `${config} has admin port 0, chosen by the kernel; give --admin ADDRESS`)
  // A wildcard address cannot be connected to portably; loopback can.
  return endpointText(address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address, port)
}

/** The address of a client, for `--from`; undefined where none is given. */
export function parseClient(from: string | undefined): string | undefined {
  const address = from === undefined ? undefined : canonicalAddress(from)
  if (from === undefined || address !== undefined) return address
  throw new MeshError('USAGE', `--from ${from} is not an IP address; write for example --from 10.0.0.7`)
}

/** The same, or a Pod: `NAMESPACE/POD`. */
export function parsePodOrClient(from: string | undefined): string | undefined {
  return from !== undefined && /^[a-z0-9-]+\/[a-z0-9.-]+$/.test(from) ? from : parseClient(from)
}

/** `namespace/name`, or `name` in the namespace that is given, `default` without. */
export function parseServiceName(text: string, namespace = 'default'): { namespace: string; name: string } {
  const [first = '', second, ...rest] = text.split('/')
  if (first === '' || second === '' || rest.length > 0) {
    throw new MeshError('USAGE', `"${text}" is not a service name; write NAMESPACE/NAME, or NAME for default/NAME`)
  }
  return second === undefined ? { namespace, name: first } : { namespace: first, name: second }
}
