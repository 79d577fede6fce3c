/** Which backends of a list new flows may use. */
import t from 'tap'
import { select } from '../../../proxy/model/backend.ts'
import { backend } from '../../support/model.ts'

t.test('backends that are untested come after the others', async t => {
  const up = backend({ address: '10.1.0.1', health: 'up' })
  const young = backend({ address: '10.1.0.2' })
  const untested = backend({ address: '10.1.0.3', untested: true })
  const down = backend({ address: '10.1.0.4', health: 'down' })
  t.same(select([untested, up, young, down]), [up, young])
  t.same(select([untested, down]), [untested], 'it is not bad')
  t.same(select([{ ...up, weight: 0 }, untested]), [untested], 'a share goes first')
  const all = [up, young]
  t.equal(select(all), all, 'the same list')
})
