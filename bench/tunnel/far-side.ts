/** The far end of a long path, in a network namespace of its own: a backend that sends for ever, a plain HTTP/2 server that does too, and a gateway. */
import { createServer as createHttp2 } from 'node:http2'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { Child, stopAll } from '../process.ts'

const [, , address = '', configuration = '', plainPort = '', backendPort = ''] = process.argv
const bin = fileURLToPath(new URL('../../bin/starlane.js', import.meta.url))
const chunk = Buffer.alloc(1 << 16)

interface Writable {
  readonly destroyed: boolean
  write(data: Buffer): boolean
  on(event: 'drain' | 'error', listen: () => void): unknown
}

function torrent(to: Writable): void {
  const more = () => {
    while (!to.destroyed && to.write(chunk));
  }
  to.on('drain', more)
  to.on('error', () => {})
  more()
}

// The address is there once both ends of the path are.
process.stdout.write('here\n')
process.stdin.once('data', async () => {
  const plain = createHttp2()
  plain.on('sessionError', () => {})
  plain.on('stream', stream => {
    stream.respond({ ':status': 200 })
    torrent(stream)
  })
  plain.listen(Number(plainPort), address)
  createServer(torrent).listen(Number(backendPort), '127.0.0.1')
  await Child.start(process.execPath, [bin, 'gateway', '-c', configuration], [])
  process.stdout.write('up\n')
})
process.stdin.once('end', async () => {
  await stopAll()
  process.exit(0)
})
