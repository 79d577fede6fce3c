/**
 * Sends and receives many bytes at once: ADDRESS PORT NAME. The first line of a client is `name`, `lines` (each is answered with
 * the name and the line) or a number of bytes, which are sent while its own are read; the last line is the checksum of those.
 */
import { createServer, type Socket } from 'node:net'
import { Checksum, send } from './bulk-bytes.ts'

const [address, port, name] = process.argv.slice(2)

createServer({ allowHalfOpen: true }, socket => {
  socket.on('error', () => {})
  socket.once('data', first => {
    const end = first.indexOf(10)
    const word = first.subarray(0, end).toString()
    if (word === 'name') return socket.end(`${name}\n`)
    if (word === 'lines') return talk(socket, first.subarray(end + 1))
    void exchange(socket, Number(word), first.subarray(end + 1))
  })
}).listen(Number(port), address)
process.on('SIGTERM', () => process.exit(0))

function talk(socket: Socket, rest: Buffer): void {
  let text = String(rest)
  const answer = () => {
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    for (const line of lines) socket.write(`${name} ${line}\n`)
  }
  answer()
  socket.on('data', data => {
    text += data
    answer()
  })
  socket.on('end', () => socket.end())
}

async function exchange(socket: Socket, bytes: number, rest: Buffer): Promise<void> {
  const received = new Checksum()
  received.add(rest)
  const all = new Promise<void>(resolve => {
    socket.on('data', data => received.add(data))
    socket.on('end', resolve)
  })
  await send(socket, bytes)
  await all
  socket.end(`${received}\n`)
}
