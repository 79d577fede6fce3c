// An API server with one service, for a start that is compiled: it answers one request after the other, in the order of their paths, so that
// the client does the same each time.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface TrainingApi {
  readonly url: string
  /** All that is listed is watched too. */
  readonly watched: Promise<void>
  close(): void
}

const version = { resourceVersion: '1' }
const service = {
  metadata: { name: 'one', namespace: 'default', ...version, annotations: { 'service.cilium.io/global': 'true' } },
  spec: { type: 'ClusterIP', clusterIPs: ['10.96.0.1'], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
}
const slice = {
  metadata: { name: 'one-1', namespace: 'default', ...version, labels: { 'kubernetes.io/service-name': 'one' } },
  addressType: 'IPv4',
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  endpoints: [{ addresses: ['10.2.0.1'], conditions: { ready: true } }],
}
/** By the last part of the path. */
const items: Readonly<Record<string, readonly object[]>> = {
  services: [service],
  endpointslices: [slice],
  namespaces: [{ metadata: { name: 'default', ...version } }],
  nodes: [],
}

/** Long enough for the client to have done what an answer asks of it. */
const pauseMs = 25

export async function trainingApi(): Promise<TrainingApi> {
  const { promise: watched, resolve } = Promise.withResolvers<void>()
  const waiting = new Set(Object.keys(items))
  const asked: { readonly url: string; readonly response: ServerResponse }[] = []
  const answering = setInterval(() => {
    const next = asked.sort((a, b) => (a.url < b.url ? -1 : 1)).shift()
    if (next) answer(next.url, next.response)
  }, pauseMs)
  const answer = (url: string, response: ServerResponse) => {
    const { pathname, searchParams } = new URL(url, 'http://localhost')
    const resource = pathname.split('/').at(-1) ?? ''
    response.setHeader('content-type', 'application/json')
    if (searchParams.has('watch')) {
      waiting.delete(resource)
      if (waiting.size === 0) resolve()
      return response.flushHeaders()
    }
    const known = items[resource]
    response.statusCode = known ? 200 : 404
    return response.end(JSON.stringify(known ? { metadata: version, items: known } : {}))
  }
  const server = createServer(({ url = '' }, response) => void asked.push({ url, response })).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = () => {
    clearInterval(answering)
    server.close()
    server.closeAllConnections()
  }
  return { url: `http://127.0.0.1:${port}`, watched, close }
}
