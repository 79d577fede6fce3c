/** `starlane mesh certificates`: from nothing to a tunnel between two clusters, without a private key on the way. */
import { X509Certificate } from 'node:crypto'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Backend } from '../../../../proxy/model/backend.ts'
import { echo, tcpBackend } from '../../../support/backend.ts'
import { behindGateway, sharedService, startClient, startGateway } from '../../../support/tunnel/rig.ts'
import { runLine } from '../stage.ts'

t.test('a cluster signs the request of another, and each accepts the other', async t => {
  const folder = t.testdir()
  const [authority, west, signed] = ['east', 'west', 'west.pem'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const mesh = (...argv: string[]) => runLine(['mesh', 'certificates', ...argv])
  const domain = ['--trust-domain', 'mesh.test']

  const made = await mesh('init', '--cluster', 'cluster-2', '--dir', authority, ...domain)
  t.equal(made.code, 0, made.err)
  t.match(made.out, /Issued: spiffe:\/\/mesh\.test\/ns\/cluster-2\/sa\/gateway/)
  for (const key of ['ca.key', 'gateway/tls.key', 'proxy/tls.key'])
    t.equal((await stat(join(authority, key))).mode & 0o077, 0, `${key} is for its owner alone`)

  t.equal((await mesh('request', '--dir', west)).code, 0)
  const csr = await readFile(join(west, 'tls.csr'), 'utf8')
  t.match(csr, /BEGIN CERTIFICATE REQUEST/)
  t.notMatch(csr, /PRIVATE/)
  const answer = await mesh(
    'sign',
    join(west, 'tls.csr'),
    '--cluster',
    'cluster-1',
    '--role',
    'proxy',
    '--dir',
    authority,
    ...domain,
  )
  t.equal(answer.code, 0, answer.err)
  t.notMatch(answer.out, /PRIVATE/)
  await writeFile(signed, answer.out)
  const installed = await mesh('install', signed, '--dir', west)
  t.match(installed.out, /spiffe:\/\/mesh\.test\/ns\/cluster-1\/sa\/proxy, valid until/)

  const { backend } = await tcpBackend(t, echo)
  const { at } = await startGateway(t, { folder: join(authority, 'gateway'), services: [sharedService([backend])] })
  const proxy = await startClient(t, { folder: west, gateways: [at] })
  await proxy.open()
  const stream = await proxy.dial(behindGateway([backend])[0] as Backend)
  stream.reset()

  t.match(await mesh('install', signed, '--dir', west), { code: 2, err: /no pending request/ }, 'once')
  await mesh('request', '--dir', west)
  t.match(await mesh('install', signed, '--dir', west), { code: 2, err: /is not for the pending request/ })
  t.equal(
    (await readFile(join(west, 'tls.crt'), 'utf8')).trim(),
    /-----BEGIN[^-]+-----[^-]+-----END CERTIFICATE-----/.exec(answer.out)?.[0],
    'what is in use stays until the next is installed',
  )
})

t.test('init again renews only what ends soon, and keeps the authority', async t => {
  const dir = join(t.testdir(), 'tls')
  const init = (days: string) =>
    runLine(['mesh', 'certificates', 'init', '--cluster', 'a', '--dir', dir, '--days', days], { wall: Date.now })
  const serial = async (file: string) => new X509Certificate(await readFile(join(dir, file))).serialNumber
  await init('30')
  const before = [await serial('ca.crt'), await serial('gateway/tls.crt')]
  await init('30')
  t.same([await serial('ca.crt'), await serial('gateway/tls.crt')], before)
  await rm(join(dir, 'gateway', 'tls.crt'))
  t.match((await init('30')).out, /Issued: .*gateway in .*\nStill good: .*proxy/)
  t.equal(await serial('ca.crt'), before[0])
  t.not(await serial('gateway/tls.crt'), before[1])
})

t.test('wrong usage says what to do', async t => {
  const folder = t.testdir({ 'x.csr': 'no request' })
  const cases: [string[], RegExp][] = [
    [['init', '--cluster', 'A!'], /not a valid cluster name/],
    [['init', '--cluster', 'a', '--trust-domain', 'A B'], /is not a trust domain/],
    [['init', '--cluster', 'a', '--days', '0'], /--days 0 is not a number/],
    [['sign', join(folder, 'x.csr'), '--cluster', 'a', '--role', 'king'], /neither gateway nor proxy/],
    [['sign', join(folder, 'x.csr'), '--cluster', 'a', '--role', 'proxy', '--dir', folder], /has no authority; run/],
    [['install', join(folder, 'none'), '--dir', folder], /none does not exist/],
    [['install', join(folder, 'x.csr'), '--dir', folder], /is not what "sign" prints/],
  ]
  for (const [argv, says] of cases)
    t.match(await runLine(['mesh', 'certificates', ...argv]), { code: 2, err: says }, argv.join(' '))
})

t.test('a request that is not signed with its own key is refused', async t => {
  const folder = t.testdir()
  const dir = join(folder, 'a')
  await runLine(['mesh', 'certificates', 'init', '--cluster', 'a', '--dir', dir])
  await runLine(['mesh', 'certificates', 'request', '--dir', join(folder, 'b')])
  const file = join(folder, 'b', 'tls.csr')
  const der = Buffer.from((await readFile(file, 'utf8')).replace(/-----[^-]+-----|\s/g, ''), 'base64')
  der[der.length - 3] = (der[der.length - 3] as number) ^ 1
  await writeFile(
    file,
    `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
  )
  const { code, out, err } = await runLine([
    'mesh',
    'certificates',
    'sign',
    file,
    '--cluster',
    'b',
    '--role',
    'proxy',
    '--dir',
    dir,
  ])
  t.equal(code, 2)
  t.equal(out, '')
  t.match(err, /not signed with its own key/)
})
