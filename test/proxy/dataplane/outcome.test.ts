/** What the error of a failed connect says, and of whom. */
import t from 'tap'
import { isExhausted, outcomeOf } from '../../../proxy/dataplane/flow/outcome.ts'
import { blames } from '../../../proxy/model/flow.ts'

const failure = (code: string) => Object.assign(new Error(code), { code })

t.test('an error blames the backend, the path to it, or this machine', async t => {
  const cases = {
    ECONNREFUSED: 'refused',
    ECONNRESET: 'refused',
    ETIMEDOUT: 'timeout',
    EHOSTUNREACH: 'unreachable',
    ENETUNREACH: 'unreachable',
    EPERM: 'unreachable',
    EMFILE: 'local',
    ENFILE: 'local',
    EADDRNOTAVAIL: 'local',
    ENOBUFS: 'local',
    ENOMEM: 'local',
  }
  for (const [code, outcome] of Object.entries(cases)) t.equal(outcomeOf(failure(code)), outcome, code)
  t.equal(outcomeOf(new Error('whatever')), 'unreachable')
  t.notOk(blames({ outcome: outcomeOf(failure('EADDRNOTAVAIL')), ms: 1 }), 'T17: ports used up blame nobody')
})

t.test('only what another backend would need as well ends the search', async t => {
  for (const code of ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']) t.ok(isExhausted(failure(code)), code)
  t.notOk(isExhausted(failure('EADDRNOTAVAIL')), 'the ports towards another backend may be free')
  t.notOk(isExhausted(failure('ECONNREFUSED')))
  t.notOk(isExhausted(undefined))
})
