/**
 * The size of packets that reach a gateway whole. Datagrams go to a port of the gateway where nothing listens, with "don't fragment"
 * set, as Linux does: a refusal proves that one arrived, and routers that say "too big" leave their size with the route.
 */
import { createSocket, type Socket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { messageOf } from '../../model/error.ts'
import type { Finding, Findings } from './finding.ts'
import { output } from './machine.ts'

const attempts = 2
/** For the first answer. Later ones get four times as long as that took. */
const firstMs = 1000
const leastMs = 100
/** Where traceroute's ports end: nothing listens there. */
const probePort = 33_529

export async function checkPathMtu(at: Findings, gateway: string, host: string): Promise<Finding> {
  const target = await lookup(host).catch(error => messageOf(error))
  if (typeof target === 'string') return at.skipped('mtu', `${gateway}: ${target}`)
  const route = await routeTo(target.address)
  if (typeof route === 'string') return at.skipped('mtu', `${gateway}: ${route}`)
  const headers = target.family === 6 ? 48 : 28
  if (route.mtu > 65_000) return at.good('mtu', `${gateway} is on this machine`)
  const small = target.family === 6 ? 1280 : 576
  const began = performance.now()
  const answers = await isRefused(target, small - headers, firstMs)
  const patience = Math.min(Math.max(4 * (performance.now() - began), leastMs), firstMs)
  const arrives = (size: number) => isRefused(target, size - headers, patience)
  const whole = await arrives(route.mtu)
  const after = await routeTo(target.address)
  const told = typeof after === 'string' ? undefined : after.learned
  if (told !== undefined && told < route.mtu) {
    const text = `packets to ${gateway} may have ${told} bytes, and ${route.device} sends ${route.mtu}`
    return at.warning('mtu', `${text}; each new route learns that by a lost packet`, remedyFor(route.device, told))
  }
  if (whole) return at.good('mtu', `packets of ${route.mtu} bytes reach ${gateway}`)
  if (!answers)
    return at.skipped('mtu', `${gateway} does not answer datagrams, so the path is not known; try tracepath ${host}`)
  const most = await largest(small, route.mtu, arrives)
  const text = `packets of more than ${most} bytes do not reach ${gateway}, and nothing says so to the sender`
  return at.error('mtu', `${text}: large answers hang`, remedyFor(route.device, most))
}

function remedyFor(device: string, mtu: number): string {
  return `ip link set ${device} mtu ${mtu}, or let routers on the way send ICMP "fragmentation needed"`
}

async function largest(low: number, high: number, arrives: (size: number) => Promise<boolean>): Promise<number> {
  let [good, bad] = [low, high]
  while (bad - good > 8) {
    const middle = Math.floor((good + bad) / 2)
    if (await arrives(middle)) good = middle
    else bad = middle
  }
  return good
}

interface Route {
  readonly device: string
  /** Of the device. */
  readonly mtu: number
  /** What a router on the path has said, if one has. */
  readonly learned: number | undefined
}

/** A text is why it is not known. */
async function routeTo(address: string): Promise<Route | string> {
  const found = await output('ip', ['-j', 'route', 'get', address])
  if ('why' in found) return `the route is not known: ${found.why}`
  const [route] = JSON.parse(found.text) as { dev: string; metrics?: { mtu?: number }[] }[]
  if (!route) return 'there is no route'
  const link = await output('ip', ['-j', 'link', 'show', route.dev])
  const [device] = 'why' in link ? [] : (JSON.parse(link.text) as { mtu?: number }[])
  if (device?.mtu === undefined) return `the MTU of ${route.dev} is not known`
  return { device: route.dev, mtu: device.mtu, learned: route.metrics?.find(({ mtu }) => mtu !== undefined)?.mtu }
}

/** Whether a datagram with so many bytes of content arrived: the other side refused it. */
async function isRefused(
  { address, family }: { readonly address: string; readonly family: number },
  size: number,
  patienceMs: number,
): Promise<boolean> {
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.connect(probePort, address, () => resolve())
    })
    for (let i = 0; i < attempts; i++) {
      if (await answered(socket, size, patienceMs)) return true
    }
    return false
  } catch {
    return false
  } finally {
    socket.removeAllListeners('error').on('error', () => {})
    socket.close()
  }
}

function answered(socket: Socket, size: number, patienceMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const timer = setTimeout(() => end(false), patienceMs)
    const failed = ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') end(true)
      else if (code === 'EMSGSIZE') end(false)
    }
    const end = (is: boolean) => {
      clearTimeout(timer)
      socket.off('error', failed)
      socket.on('error', () => {})
      resolve(is)
    }
    socket.removeAllListeners('error').on('error', failed)
    socket.send(Buffer.alloc(size), error => error && failed(error))
  })
}
