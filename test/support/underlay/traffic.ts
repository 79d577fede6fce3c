/** What pods do with each other, and what is seen of it on a link. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { addressText } from '../../../proxy/model/address.ts'
import type { Machine, NodeMachine } from './machines.ts'

/** A server for HTTP and an echo for UDP on port 8080 of all addresses of a machine. */
export async function serve(machine: Machine, name: string): Promise<() => void> {
  const child = machine.start([
    process.execPath,
    '-e',
    `const body = ${JSON.stringify(name)}
     require('node:http').createServer((request, response) => {
       response.setHeader('connection', 'close')
       response.end(request.url === '/large' ? body.repeat(200000) : body + ' ' + request.socket.remoteAddress)
     }).listen(8080, '::', () => {
       const udp = require('node:dgram').createSocket({ type: 'udp6' })
       udp.on('message', (data, from) => udp.send(data, from.port, from.address))
       udp.bind(8080, '::', () => console.log('ready'))
     })`,
  ])
  await once(child.stdout, 'data')
  return () => void child.kill('SIGKILL')
}

export const bracketed = (address: string) => (address.includes(':') ? `[${address}]` : address)

/** Rejects unless a ping of the size in bytes of the IP packet is answered within the time; `whole`: it may not be fragmented. */
export function ping(
  from: Machine,
  to: string,
  { size = 84, whole = false, seconds = 3 }: { size?: number; whole?: boolean; seconds?: number } = {},
): Promise<string> {
  const header = to.includes(':') ? 48 : 28
  return from.do(`ping -n -q -c 1 -w ${seconds} -i 0.2 ${whole ? '-M do' : ''} -s ${size - header} ${to}`)
}

export function curl(from: Machine, to: string, path = '/'): Promise<string> {
  return from.do(`curl -sS --max-time 10 -g http://${bracketed(to)}:8080${path}`)
}

/** The echo of a datagram of so many bytes. */
export function udp(from: Machine, to: string, bytes: number): Promise<string> {
  const code = `
    const udp = require('node:dgram').createSocket('${to.includes(':') ? 'udp6' : 'udp4'}')
    udp.on('message', data => { console.log(data.length); process.exit(0) })
    setInterval(() => udp.send(Buffer.alloc(${bytes}, 120), 8080, '${to}'), 200)
    setTimeout(() => process.exit(1), 3000)`
  return from.do(`${process.execPath} -e "${code}"`)
}

/** The outer source and destination addresses of the IP packets that pass a device while `work` runs. */
export async function captured(
  machine: Machine,
  device: string,
  work: () => Promise<unknown>,
): Promise<[string, string][]> {
  return outerAddresses(await recorded(machine, device, work))
}

/** The IP packets that pass a device while `work` runs, as tcpdump writes them. */
export async function recorded(machine: Machine, device: string, work: () => Promise<unknown>): Promise<Buffer> {
  const child = machine.start(['tcpdump', '-U', '--immediate-mode', '-n', '-i', device, '-w', '-', 'ip or ip6'])
  const chunks: Buffer[] = []
  child.stdout.on('data', chunk => chunks.push(chunk))
  await once(child.stderr, 'data')
  await work()
  await sleep(100)
  child.kill('SIGINT')
  await once(child, 'close')
  return Buffer.concat(chunks)
}

/**
 * The addresses of nodes, and those by which machines on a link look for each other: `::` has who has no address yet (RFC 4862 5.4.2),
 * 224.0.0.22 hears who joins a group (RFC 3376 4.2.14).
 */
export const isOfNodes = (address: string): boolean =>
  /^(192\.0\.[12]\.|fd00:c0:[12]:|224\.0\.0\.|fe80:|ff02:|::$)/.test(address)

/** Reads a file of libpcap with Ethernet frames (little-endian, as tcpdump writes it here). */
export function outerAddresses(file: Buffer): [string, string][] {
  const found: [string, string][] = []
  for (let at = 24; at + 16 <= file.length; ) {
    const length = file.readUInt32LE(at + 8)
    const packet = file.subarray(at + 16 + 14, at + 16 + length)
    at += 16 + length
    const isV6 = (packet[0] ?? 0) >> 4 === 6
    const [first, size] = isV6 ? [8, 16] : [12, 4]
    found.push([
      addressText(packet.subarray(first, first + size)),
      addressText(packet.subarray(first + size, first + 2 * size)),
    ])
  }
  return found
}

/**
 * What `ip monitor` prints while `work` runs, without neighbours that the kernel finds out about by itself, and without the link-local addresses
 * of links, which it takes when it has found out that nobody else has them (RFC 4862 5.4).
 */
export async function monitored(machine: Machine, work: () => Promise<unknown>): Promise<string> {
  const child = machine.start(['ip', '-o', 'monitor', 'all'])
  let out = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    out += text
  })
  // It listens once it shows a change.
  for (let i = 0; out === '' && i < 100; i++) await machine.do('ip link add probe type bridge; ip link del probe')
  const from = out.length
  await machine.do('ip link add before type bridge; ip link del before')
  await work()
  await machine.do('ip link add after type bridge; ip link del after')
  for (let i = 0; !/Deleted .*after/.test(out) && i < 200; i++) await sleep(20)
  child.kill()
  await once(child, 'close')
  return out
    .slice(from)
    .split('\n')
    .filter(
      line =>
        !/\b(probe|before|after|if\d+)\b|\bfe80:|lladdr .* (REACHABLE|STALE|DELAY|PROBE)/.test(line) &&
        line.trim() !== '',
    )
    .join('\n')
}

/** Every pair of pods in different clusters. */
export function pairsOf(nodes: readonly NodeMachine[]): [NodeMachine, NodeMachine][] {
  return nodes.flatMap(from =>
    nodes.filter(to => to.cluster !== from.cluster).map(to => [from, to] as [NodeMachine, NodeMachine]),
  )
}
