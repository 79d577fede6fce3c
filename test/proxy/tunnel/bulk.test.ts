/** Gigabytes through one stream, each way, counted and hashed, with the gateway in a pump where there is one; `STARLANE_TUNNEL_BYTES` says how many. Run by `npm run test:tunnel`. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import { tcpBackend } from '../../support/backend.ts'
import { carry } from '../../support/tunnel/carry.ts'
import { serveInPump, tunnelRig } from '../../support/tunnel/rig.ts'

const skip = process.env.STARLANE_TUNNEL !== '1' && 'npm run test:tunnel'
const total = Number(process.env.STARLANE_TUNNEL_BYTES ?? 5e9)
/** No divisor of any window or frame. */
const pieceBytes = 999_983
if ('addon' in findAddon()) serveInPump()

/** What is sent: pieces that are all different. Resolves with the hash once all are written. */
async function pour(into: Socket): Promise<string> {
  const hash = createHash('sha256')
  for (let sent = 0, i = 0; sent < total; i++) {
    const piece = Buffer.alloc(Math.min(pieceBytes, total - sent), `${i} `)
    hash.update(piece)
    sent += piece.length
    if (!into.write(piece)) await once(into, 'drain')
  }
  into.end()
  return hash.digest('hex')
}

async function drink(from: Socket): Promise<{ bytes: number; hash: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  from.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
  })
  await once(from, 'end')
  return { bytes, hash: hash.digest('hex') }
}

t.test(`${total / 1e9} GB through one stream`, { skip, timeout: 900_000 }, async t => {
  const received = Promise.withResolvers<{ bytes: number; hash: string }>()
  const answered = Promise.withResolvers<string>()
  const { backend } = await tcpBackend(t, socket => {
    void drink(socket).then(end => {
      received.resolve(end)
      void pour(socket).then(answered.resolve)
    })
  })
  const rig = await tunnelRig(t, [backend])
  const stream = await rig.client.dial(rig.backends[0] as Backend)
  const { client, done } = await carry(t, stream)
  const before = process.memoryUsage().rss
  const since = performance.now()
  const back = drink(client)
  const sent = await pour(client)
  t.same(await received.promise, { bytes: total, hash: sent }, 'up')
  const up = performance.now()
  const [came, answer] = await Promise.all([back, answered.promise])
  t.same(came, { bytes: total, hash: answer }, 'down, after the end of the other side')
  t.equal(await done, 'done')
  const rate = (ms: number) => `${(total / ms / 1000).toFixed(0)} MB/s`
  const grown = Math.round((process.memoryUsage().rss - before) / 2 ** 20)
  t.comment(
    `${rate(up - since)} up, ${rate(performance.now() - up)} down, ${grown} MiB more memory with all ends in one process`,
  )
  t.ok(grown < 600, `${grown} MiB more: what is on its way does not grow with what has passed`)
})
