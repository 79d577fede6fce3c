/** Follows the X.509 identities that a SPIFFE Workload API (SPIRE's agent) gives to this process: a stream, opened again when it ends. */
import type { Client, ServiceError } from '@grpc/grpc-js'
import { MeshError, messageOf } from '../../model/error.ts'
import { Backoff } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { loadGrpc } from '../grpc.ts'
import { fetchX509Svid, type X509SvidResponse, x509SvidRequest, x509SvidResponse } from './messages.ts'

export interface WorkloadApiParts {
  /** `unix:///run/spire/agent.sock`, or `tcp://127.0.0.1:8081`. */
  readonly endpoint: string
  readonly clock: Clock
  readonly random: Random
}

export interface WorkloadApiEvents {
  /** All identities and bundles as they are now; called again whenever one changes. */
  told(response: X509SvidResponse): void
  /** It does not answer, or has no identity for this process; tried again after a while. */
  failed(error: MeshError): void
}

const maxMessageBytes = 4 << 20

export class WorkloadApi {
  readonly #parts: WorkloadApiParts
  readonly #events: WorkloadApiEvents
  readonly #backoff: Backoff
  #client: Client | undefined
  #cancelRetry: () => void = () => {}
  #closed = false

  constructor(parts: WorkloadApiParts, events: WorkloadApiEvents) {
    this.#parts = parts
    this.#events = events
    this.#backoff = new Backoff(parts.random)
    void this.#follow()
  }

  close(): void {
    this.#closed = true
    this.#cancelRetry()
    this.#client?.close()
  }

  /** Never rejects. */
  async #follow(): Promise<void> {
    const { endpoint } = this.#parts
    try {
      const grpc = await loadGrpc('the SPIFFE Workload API', 'CERTIFICATE')
      if (this.#closed) return
      const client = new grpc.Client(targetOf(endpoint), grpc.credentials.createInsecure(), {
        'grpc.enable_http_proxy': 0,
        'grpc.service_config_disable_resolution': 1,
        'grpc.max_receive_message_length': maxMessageBytes,
        'grpc.use_local_subchannel_pool': 1,
      })
      this.#client = client
      // Without it, the API refuses: a page that a browser has loaded cannot send it (SPIFFE Workload Endpoint 5).
      const metadata = new grpc.Metadata()
      metadata.set('workload.spiffe.io', 'true')
      const stream = client.makeServerStreamRequest(
        fetchX509Svid,
        () => x509SvidRequest.encode({}),
        bytes => x509SvidResponse.decode(bytes),
        {},
        metadata,
      )
      stream.on('data', (response: X509SvidResponse) => {
        this.#backoff.succeeded()
        if (!this.#closed) this.#events.told(response)
      })
      // It follows the last data, also where the server ends the stream by itself.
      stream.on('error', (error: ServiceError) => this.#ended(client, error))
      stream.on('end', () => this.#ended(client, undefined))
    } catch (error) {
      this.#ended(undefined, error)
    }
  }

  #ended(client: Client | undefined, error: unknown): void {
    if (this.#closed || client !== this.#client) return
    this.#client = undefined
    client?.close()
    if (error !== undefined) this.#events.failed(this.#explained(error))
    this.#cancelRetry = this.#parts.clock.after(this.#backoff.next(), () => void this.#follow())
  }

  #explained(error: unknown): MeshError {
    if (error instanceof MeshError) return error
    const { endpoint } = this.#parts
    const { code, details } = error as Partial<ServiceError>
    if (code === permissionDenied) {
      const remedy = 'register an entry whose selectors match it'
      return new MeshError('CERTIFICATE', `${endpoint} has no identity for this process (${details}); ${remedy}`)
    }
    return new MeshError('CERTIFICATE', `${endpoint} does not answer: ${details ?? messageOf(error)}`)
  }
}

/** gRPC's code for a process that no entry matches. */
const permissionDenied = 7

/** The name that gRPC has for it. */
function targetOf(endpoint: string): string {
  return endpoint.startsWith('tcp://') ? endpoint.slice('tcp://'.length) : endpoint
}
