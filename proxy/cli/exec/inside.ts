/** The process inside a network namespace of `starlane exec`: makes sockets there and passes them to the command's parent. */
import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { Command } from 'commander'
import type { Protocol } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'

/** What the parent asks for. The answer has the same id, and the socket or the reason why there is none. */
export type Request =
  | {
      readonly id: number
      readonly listen: { readonly ip: string; readonly port: number; readonly protocol: Protocol }
    }
  /** A process to end when the parent is gone. */
  | { readonly carrier: number }

export interface Answer {
  readonly id: number
  readonly failed?: string
}

export const insideName = '__inside'

/** Hidden: `starlane exec` runs it in the namespace, with a channel for messages. */
export function insideCommand(end: (code: number) => void): Command {
  return new Command(insideName).action(async () => {
    allowLowPorts()
    await serve()
    end(0)
  })
}

/** In the namespace every program may listen below 1024. A kernel that does not let this be set keeps its rule. */
function allowLowPorts(): void {
  try {
    writeFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', '0')
  } catch {}
}

/** Until the parent ends. */
function serve(): Promise<void> {
  let carrier: number | undefined
  process.on('message', (request: Request) => {
    if ('carrier' in request) carrier = request.carrier
    else void answer(request.id, request.listen)
  })
  process.send?.({ id: 0 } satisfies Answer)
  return new Promise(resolve =>
    process.once('disconnect', () => {
      try {
        if (carrier !== undefined) process.kill(carrier)
      } catch {}
      resolve()
    }),
  )
}

type Wanted = Extract<Request, { id: number }>['listen']

async function answer(id: number, { ip, port, protocol }: Wanted): Promise<void> {
  try {
    addAddress(ip)
    const socket = protocol === 'UDP' ? await boundUdp(ip, port) : await listeningTcp(ip, port)
    // The parent has the socket from here on; this copy would take connections away from it.
    process.send?.({ id } satisfies Answer, socket, {}, () => socket.close())
  } catch (error) {
    process.send?.({ id, failed: messageOf(error) } satisfies Answer)
  }
}

/** 127.0.0.0/8 is there; other addresses are added to the loopback device of the namespace. */
function addAddress(ip: string): void {
  if (ip.startsWith('127.') || ip === '::1') return
  const { error, status, stderr } = spawnSync('ip', ['address', 'replace', ip, 'dev', 'lo'], { encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(`ip address replace ${ip} dev lo: ${stderr.trim()}`)
}

function listeningTcp(ip: string, port: number) {
  return new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true })
    server.once('error', reject)
    server.listen({ host: ip, port, backlog: 511 }, () => resolve(server))
  })
}

function boundUdp(ip: string, port: number) {
  return new Promise<ReturnType<typeof createSocket>>((resolve, reject) => {
    const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4')
    socket.once('error', reject)
    socket.bind({ address: ip, port, exclusive: true }, () => resolve(socket))
  })
}
