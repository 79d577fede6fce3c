import t from 'tap'
import { Kept } from '../../../../proxy/model/lists/kept.ts'

t.test('equal ones are the first of them, and a stranger takes no room for ever', async t => {
  const kept = new Kept<object>()
  const first = {}
  t.equal(kept.of('a', first), first)
  t.equal(kept.of('a', {}), first)
  t.equal(kept.find('b'), undefined)
  for (let i = 0; i < 1024; i++) kept.of(`n${i}`, {})
  t.equal(kept.find('a'), undefined, 'too many: all before are forgotten')
  const again = {}
  t.equal(kept.of('a', again), again)
})

t.test('a name that nobody would give is not kept', async t => {
  const kept = new Kept<object>()
  const name = 'n'.repeat(257)
  const [one, other] = [{}, {}]
  t.equal(kept.of(name, one), one)
  t.equal(kept.of(name, other), other)
})
