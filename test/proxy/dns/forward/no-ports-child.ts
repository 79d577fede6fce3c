/** Runs where only the ports 40000 to 40003 can be bound: takes them all, asks, and prints what became of the questions. */
import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import dnsPacket from 'dns-packet'
import { eventually } from '../../../support/eventually.ts'
import { socketDescriptors } from '../../../support/faults.ts'
import { FakeDirectory, globalService } from '../../../support/model.ts'
import { ask, responder, told } from '../dns.ts'

const sockets = () => socketDescriptors().length
const inherited = sockets()
const upstream = await bound(5300)
upstream.on('message', (message, from) => {
  const { id, questions } = dnsPacket.decode(message)
  const answers: dnsPacket.Answer[] = [{ type: 'A', name: questions?.[0]?.name ?? '', data: '192.0.2.1', ttl: 60 }]
  upstream.send(dnsPacket.encode({ type: 'response', id, questions, answers }), from.port, from.address)
})
// Its clock stands still, so that a slow machine is not taken for a server that does not answer.
const dns = responder(new FakeDirectory(globalService()), {
  upstream: ['127.0.0.1:5300'],
  listen: { address: '127.0.0.1', port: 5353 },
})
await dns.start()
await ask(dns, 'before.example.org', 'A')
// The question that looks for a loop has a port too, until it is answered. What stays: the upstream and two listeners.
await eventually(() => assert.equal(sockets(), inherited + 3))

const taken = await Promise.all([40_000, 40_001, 40_002, 40_003].map(bound))
const before = sockets()
const without: string[] = []
for (let i = 0; i < 30; i++) without.push(told(await ask(dns, `n${i}.example.org`, 'A')))
await new Promise(resolve => setImmediate(resolve))
const leaked = sockets() - before
for (const socket of taken) socket.close()
const after = told(await ask(dns, 'after.example.org', 'A'))
const failures = dns.stats().upstreams[0]?.failures
process.stdout.write(JSON.stringify({ without, leaked, failures, after }))
process.exit(0)

function bound(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4').once('error', reject)
    socket.bind(port, '127.0.0.1', () => resolve(socket))
  })
}
