/** Sends and receives so many bytes at once, and prints `whole` if each side has got what the other sent: HOST PORT BYTES. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { Checksum, expected, send } from './bulk-bytes.ts'

const [host = '', port = '', given = ''] = process.argv.slice(2)
const bytes = Number(given)
const socket = connect({ host, port: Number(port), allowHalfOpen: true })
await once(socket, 'connect')
socket.write(`${bytes}\n`)
console.log('open')
const received = new Checksum()
let count = 0
let last = ''
const end = new Promise<void>((resolve, reject) => {
  socket.on('error', reject)
  socket.on('data', data => {
    const own = data.subarray(0, Math.max(0, bytes - count))
    count += data.length
    if (own.length > 0) received.add(own)
    last += data.subarray(own.length)
  })
  socket.on('end', resolve)
})
await send(socket, bytes)
socket.end()
await end
const whole = `${expected(bytes)}`
console.log(
  `${received}` === whole && last.trim() === whole ? 'whole' : `sent ${whole}; there ${last.trim()}; here ${received}`,
)
