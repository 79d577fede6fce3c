/**
 * The least that node:http2 needs to carry connections between two processes: one CONNECT for each over mutual TLS, the windows of Starlane's tunnels,
 * and stream.pipeline. What it costs is what JavaScript's thread costs at least.
 *
 *     node bench/tunnel/plain-relay.ts near|far PORT TO-PORT CERTIFICATES
 */
import { readFileSync } from 'node:fs'
import { connect as connectHttp2, createSecureServer } from 'node:http2'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import { clientSettings, serverSettings, sessionMemory, sessionWindow } from '../../proxy/tunnel/wire/settings.ts'

const [, , side, port, to = '', folder = ''] = process.argv
const read = (name: string) => readFileSync(join(folder, name))
const tls = { cert: read('tls.crt'), key: read('tls.key'), ca: read('ca.crt') }
const ended = () => {}

if (side === 'far') {
  const server = createSecureServer({
    ...{ ...tls, requestCert: true, rejectUnauthorized: true },
    ...{ settings: serverSettings, maxSessionMemory: sessionMemory },
  })
  server.on('session', session => session.setLocalWindowSize(sessionWindow))
  server.on('stream', stream => {
    const backend = connect({ port: Number(to), host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    stream.respond({ ':status': 200 })
    pipeline(stream, backend, ended)
    pipeline(backend, stream, ended)
  })
  server.listen(Number(port), '127.0.0.1')
} else {
  const session = connectHttp2(`https://127.0.0.1:${to}`, {
    ...{ ...tls, servername: '', checkServerIdentity: () => undefined },
    ...{ settings: clientSettings, maxSessionMemory: sessionMemory },
  })
  session.once('connect', () => session.setLocalWindowSize(sessionWindow))
  createServer({ allowHalfOpen: true, noDelay: true }, client => {
    const stream = session.request({ ':method': 'CONNECT', ':authority': '127.0.0.1:1' }, { endStream: false })
    pipeline(client, stream, ended)
    pipeline(stream, client, ended)
  }).listen(Number(port), '127.0.0.1')
}
