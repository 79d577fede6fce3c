/** QUIC and HTTP/3: the programs of ngtcp2, of which each datagram of a connection has to reach the same pod. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Application, Place, Stage, Target } from './support/application.ts'
import { makeCertificates } from './support/certificates.ts'

const port = 4433
const size = 24 * 1024 * 1024

export const quic: Application = {
  name: 'quic',
  needs: ['gtlsclient', 'gtlsserver', 'openssl'],
  port,
  protocols: ['UDP'],
  // gtlsclient reads past ICMP errors, and gives up after 10 s, without Starlane too.
  ignoresRefusals: true,
  prepare: async folder => {
    await makeCertificates(folder, ['server.test'])
    await writeFile(join(folder, 'large'), randomBytes(size))
  },
  server: async ({ ip, name, folder }, shared) => {
    await writeFile(join(folder, 'name'), `name=${name}.\n`)
    const files = ['cp', join(shared, 'large'), folder]
    const serve = ['gtlsserver', '-q', '-d', folder, ip, `${port}`, `${shared}/server.key`, `${shared}/server.crt`]
    return ['sh', '-c', `${files.join(' ')}; exec ${serve.join(' ')}`]
  },
  once: async (place, to, shared) => {
    const text = await download(place, to, shared, 'name')
    const name = /^name=([a-z]+)\.$/m.exec(String(text))?.[1]
    assert.ok(name, `answered ${text}`)
    return name
  },
  own: { 'a long transfer': longTransfer },
}

async function download(place: Place, { host }: Target, shared: string, file: string): Promise<Buffer> {
  const folder = await mkdtemp(join(shared, 'got-'))
  await mkdir(folder, { recursive: true })
  const quiet = ['-q', '--no-quic-dump', '--no-http-dump', '--exit-on-all-streams-close', '--timeout=45s']
  await place.run(['gtlsclient', ...quiet, `--download=${folder}`, host, `${port}`, `https://server.test/${file}`], {
    timeoutMs: 120_000,
  })
  return readFile(join(folder, file))
}

/** 24 MiB by one connection arrive whole while its pod is not ready, then terminating, and Starlane reloads. */
async function longTransfer(stage: Stage): Promise<void> {
  const got = download(stage.pod, stage.target, stage.shared, 'large')
  got.catch(() => {})
  for (const state of ['unready', 'terminating', 'ready'] as const) await stage.declare({ one: state, two: state })
  await stage.reload({ balancer: 'random' })
  assert.ok((await got).equals(await readFile(join(stage.shared, 'large'))))
}
