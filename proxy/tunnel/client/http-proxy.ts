/** The way out through an HTTP proxy: CONNECT of HTTP/1.1 (RFC 9110, 9.3.6). The tunnel's own TLS begins behind it. */

import type { Socket } from 'node:net'
import { endpointText } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'
import { request } from '../../model/program/http.ts'

export interface HttpProxy {
  readonly host: string
  readonly port: number
  /** The value of `proxy-authorization`, if the proxy asks for one. */
  readonly authorization?: string
}

/** `http://USER:PASSWORD@HOST:PORT`, where user and password may be absent. Undefined for anything else. */
export function parseProxy(text: string): HttpProxy | undefined {
  const url = URL.parse(text)
  if (url?.protocol !== 'http:' || url.hostname === '' || url.pathname !== '/' || url.search !== '') return undefined
  const secret = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 80),
    ...(secret === ':' ? {} : { authorization: `Basic ${Buffer.from(secret).toString('base64')}` }),
  }
}

/** Calls `done` once, with a connection to the target or why there is none; never after a call of the function returned. */
export function throughProxy(
  target: { readonly host: string; readonly port: number },
  { host, port, authorization }: HttpProxy,
  done: (why: string | undefined, socket: Socket | undefined) => void,
): () => void {
  const path = endpointText(target.host, target.port)
  const name = `the proxy ${endpointText(host, port)}`
  const headers = { host: path, ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }) }
  const asking = request({ host, port, method: 'CONNECT', path, headers, agent: false })
  let isOver = false
  const end = (why: string | undefined, socket: Socket | undefined) => {
    if (isOver) return
    isOver = true
    done(why, socket)
  }
  asking.on('error', error => end(`${name} cannot be used: ${messageOf(error)}`, undefined))
  asking.once('connect', ({ statusCode }, socket, head) => {
    socket.on('error', () => {})
    if (isOver || statusCode !== 200) {
      socket.destroy()
      return end(`${name} answers ${statusCode}`, undefined)
    }
    if (head.length > 0) socket.unshift(head)
    end(undefined, socket as Socket)
  })
  asking.end()
  return () => {
    isOver = true
    asking.destroy()
  }
}
