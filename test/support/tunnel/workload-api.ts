/** A SPIFFE Workload API on a socket, which gives what a test sets. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { Metadata, Server, ServerCredentials, type ServerWritableStream, status } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { fetchX509Svid, type X509SvidResponse, x509SvidResponse } from '../../../proxy/clients/spiffe/messages.ts'
import type { Issued } from './certificates.ts'

type Call = ServerWritableStream<unknown, Partial<X509SvidResponse>>

export interface GivenSvid {
  readonly id: string
  readonly issued: Issued
  /** PEM of the roots of its trust domain. */
  readonly roots: string
}

export class FakeWorkloadApi {
  readonly endpoint: string
  readonly #server = new Server()
  readonly #calls = new Set<Call>()
  #current: Partial<X509SvidResponse> | undefined
  /** How often the stream was asked for. */
  asked = 0
  /** Requests without the header that keeps browsers away. */
  refused = 0

  private constructor(socket: string) {
    this.endpoint = `unix://${socket}`
    const definition = {
      fetch: {
        path: fetchX509Svid,
        requestStream: false,
        responseStream: true,
        requestSerialize: () => Buffer.alloc(0),
        requestDeserialize: () => ({}),
        responseSerialize: (value: Partial<X509SvidResponse>) => x509SvidResponse.encode(value),
        responseDeserialize: (bytes: Buffer) => x509SvidResponse.decode(bytes),
      },
    }
    this.#server.addService(definition, { fetch: (call: Call) => this.#answer(call) })
  }

  static async start(t: Test, socket: string): Promise<FakeWorkloadApi> {
    const api = new FakeWorkloadApi(socket)
    await new Promise<void>((resolve, reject) =>
      api.#server.bindAsync(api.endpoint, ServerCredentials.createInsecure(), error =>
        error ? reject(error) : resolve(),
      ),
    )
    t.teardown(() => api.stop())
    return api
  }

  /** Gives these from now on; nothing: this process has no identity. */
  give(svids: readonly GivenSvid[], federated: Readonly<Record<string, string>> = {}): void {
    this.#current =
      svids.length === 0
        ? undefined
        : {
            svids: svids.map(({ id, issued, roots }) => ({
              spiffeId: id,
              x509Svid: derOf(issued.cert),
              x509SvidKey: createPrivateKey(issued.key).export({ format: 'der', type: 'pkcs8' }),
              bundle: derOf(roots),
              hint: '',
            })),
            federatedBundles: Object.entries(federated).map(([trustDomain, roots]) => ({
              trustDomain,
              roots: derOf(roots),
            })),
          }
    for (const call of this.#calls) this.#send(call)
  }

  /** Ends all streams, as an agent that restarts does. */
  drop(): void {
    for (const call of this.#calls) call.emit('error', { code: status.UNAVAILABLE, details: 'restarting' })
    this.#calls.clear()
  }

  stop(): void {
    this.#server.forceShutdown()
  }

  #answer(call: Call): void {
    this.asked++
    if (call.metadata.get('workload.spiffe.io')[0] !== 'true') {
      this.refused++
      call.emit('error', {
        code: status.INVALID_ARGUMENT,
        details: 'security header missing',
        metadata: new Metadata(),
      })
      return
    }
    this.#calls.add(call)
    call.on('cancelled', () => this.#calls.delete(call))
    this.#send(call)
  }

  #send(call: Call): void {
    if (this.#current) return void call.write(this.#current)
    this.#calls.delete(call)
    call.emit('error', { code: status.PERMISSION_DENIED, details: 'no identity issued' })
  }
}

/** The certificates of a PEM text, one after the other. */
function derOf(pem: string): Buffer {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return Buffer.concat(found.map(one => new X509Certificate(one).raw))
}
