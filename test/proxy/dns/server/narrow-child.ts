/**
 * Sends answers of 1232 octets to one client, every third of them late, over a loopback that udp.test.ts has limited; with the
 * argument `late`, then more late ones than may wait. Prints what the client received.
 */
import { createSocket } from 'node:dgram'
import { layout } from '../../../../proxy/dns/server/udp-batch.ts'
import { eventually } from '../../../support/eventually.ts'
import { batchSockets } from '../dns.ts'

const questions = 300
const answerBytes = 1232
const lateAnswers = 3000
const { at, peerBytes, wordBytes } = layout

const sockets = batchSockets()
if (!sockets) throw new Error('the addon was not built')
const heard = new Set<number>()
const late: Buffer[] = []
let asked = 0
const server = new sockets(count => {
  const words = new Int32Array(server.memory)
  for (let i = 0; i < count; i++) {
    if (asked++ % 3 === 0) late.push(Buffer.from(new Uint8Array(server.memory, at.peers + peerBytes * i, peerBytes)))
    else words[at.answered / wordBytes + i] = answerBytes
  }
})
server.bind('127.0.0.1', 0, 4 << 20)
const client = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
let answers = 0
client.on('message', message => {
  answers++
  heard.add(message.length)
})
await new Promise<void>(resolve => client.connect(server.port(), '127.0.0.1', resolve))
for (let i = 0; i < questions; i++) client.send('what?')
await eventually(() => asked === questions || Promise.reject(new Error(`${asked} asked`)))
for (const peer of late) server.send(Buffer.alloc(answerBytes), peer)
if (process.argv[2] === 'late')
  for (let i = 0; i < lateAnswers; i++) server.send(Buffer.alloc(answerBytes), late[0] as Buffer)
// Closing first sends what is still queued.
await new Promise<void>(resolve => server.close(resolve))
const sent = questions + (process.argv[2] === 'late' ? lateAnswers : 0) - server.lost()
await eventually(() => answers === sent || Promise.reject(new Error(`${answers} of ${sent} answers`)), 20_000)
console.log(JSON.stringify({ answers, lengths: [...heard], lost: server.lost() }))
client.close()
