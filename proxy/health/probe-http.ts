/** HTTP check: GET a path; the status decides, once the response is complete or longer than 64 KiB. */
import type { Socket } from 'node:net'
import { endpointText } from '../model/address.ts'
import { MeshError } from '../model/error.ts'
import { ownProxyHeader } from '../model/sockets/proxy-header.ts'
import type { Clock } from '../model/time/clock.ts'
import { Connections } from './connections.ts'
import type { HttpCheck } from './options.ts'
import { failed, type Probe, passed, resultOfError } from './probe.ts'

const maxBodyBytes = 64 * 1024

export function httpProbe(options: HttpCheck, clock: Clock): Probe {
  const { path, status, timeoutMs } = options
  if (!path.startsWith('/')) {
    throw new MeshError('CONF_FIELD', `health.active.path: "${path}" does not begin with a slash; write "/${path}"`)
  }
  const connections = new Connections(timeoutMs, clock)
  return {
    async check(endpoint) {
      try {
        const socket = await connections.open(endpoint)
        if (endpoint.sendProxy) socket.write(ownProxyHeader)
        const answered = await get(`http://${endpointText(endpoint.address, endpoint.port)}`, path, socket)
        const fits = answered >= status.min && answered <= status.max
        return fits ? passed : failed(`status ${answered} is not in ${status.min}-${status.max}`)
      } catch (error) {
        return resultOfError(error)
      }
    },
    destroy: () => connections.destroy(),
  }
}

/**
 * A client for one request over an open connection: undici by itself would keep dialling after the check timed out, and
 * would keep idle connections. Its timeouts are off, since the socket has one for the whole check.
 */
async function get(origin: string, path: string, socket: Socket): Promise<number> {
  // Loaded by the first check: the library takes 26 MiB.
  const { Client } = await import('undici')
  const client = new Client(origin, {
    // Deferred: undici's client stalls when the connector calls back synchronously.
    connect: (_options, done) => queueMicrotask(() => done(null, socket)),
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  try {
    return await new Promise((resolve, reject) => {
      let status = 0
      let bytes = 0
      // Deferred, since undici sees the close after us and may have a better reason.
      const cutShort = () => reject(new Error('the connection closed before the response was complete'))
      socket.once('close', () => queueMicrotask(cutShort))
      client.dispatch(
        { method: 'GET', path, headers: { 'user-agent': 'starlane-health', accept: '*/*' }, reset: true },
        {
          onRequestStart() {},
          onResponseStart(_controller, code) {
            status = code
          },
          onResponseData(_controller, chunk) {
            bytes += chunk.length
            if (bytes > maxBodyBytes) resolve(status)
          },
          onResponseEnd: () => resolve(status),
          onResponseError: (_controller, error) => reject(error),
        },
      )
    })
  } finally {
    await client.destroy()
  }
}
