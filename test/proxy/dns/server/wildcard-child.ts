/**
 * Runs in a network namespace with several addresses: a responder on a wildcard, asked at each of them by `dig`, which takes
 * a reply from another address for a forgery. Prints what `dig` said. The arguments: kind of socket, listen address, addresses.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { silentLog } from '../../../../proxy/model/log.ts'
import { systemClock } from '../../../../proxy/model/time/clock.ts'
import { eventually } from '../../../support/eventually.ts'
import { FakeDirectory, globalService } from '../../../support/model.ts'
import { batchSockets, responder } from '../dns.ts'
import { a, fakeUpstream } from '../upstream.ts'

const run = promisify(execFile)
const [kind = '', listen = '', ...addresses] = process.argv.slice(2)
const native = kind === 'native' ? batchSockets() : undefined
const upstream = await fakeUpstream({ teardown: () => {} } as never, ({ name }) => ({
  answers: [a(name, '192.0.2.1')],
}))
const dns = responder(
  new FakeDirectory(globalService()),
  { listen: { address: listen, port: 5353 }, upstream: [upstream.text] },
  { clock: systemClock, log: silentLog, ...(native && { BatchSocket: native }) },
)
await dns.start()
const quick = ['+short', '+tries=1', '+time=1']
const dig = async (address: string, name: string) => {
  // The client's own address is another one than it asks: from its route to the client the kernel would choose that one.
  const own = address.includes(':') ? 'fd00:9::1' : '10.9.0.1'
  const { stdout } = await run('dig', ['-b', own, `@${address}`, '-p', '5353', ...quick, name, 'A']).catch(
    error => error,
  )
  return stdout.trim()
}
const answers: Record<string, string[]> = {}
for (const address of addresses) {
  // At once from our zones, and later from an upstream.
  answers[address] = [
    await dig(address, 'rebel-base.default.svc.cluster.local'),
    await dig(address, `n${addresses.indexOf(address)}.example.org`),
  ]
}
// An address that comes later.
await run('ip', ['addr', 'add', '10.9.0.9/32', 'dev', 'lo'])
await eventually(async () => {
  const answer = await dig('10.9.0.9', 'rebel-base.default.svc.cluster.local')
  if (answer !== '127.96.0.10') throw new Error(answer)
}, 8000)
await run('ip', ['addr', 'del', '10.9.0.9/32', 'dev', 'lo'])
process.stdout.write(JSON.stringify(answers))
process.exit(0)
