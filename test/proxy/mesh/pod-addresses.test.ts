import t from 'tap'
import { PodAddresses } from '../../../proxy/mesh/pod-addresses.ts'

t.test('an address is known while any Pod of the namespace has it', async t => {
  const pods = new PodAddresses()
  const at = (name: string, ...addresses: string[]) => ({ namespace: 'default', name, addresses })
  pods.reset([at('a', '10.0.0.1'), at('b', '10.0.0.1', 'fd00::1')])
  t.ok(pods.has('default', '10.0.0.1'))
  t.notOk(pods.has('other', '10.0.0.1'))
  pods.drop('default', 'a')
  pods.drop('default', 'a')
  t.ok(pods.has('default', '10.0.0.1'), 'b has it still')
  pods.put(at('b', '10.0.0.2'))
  t.same(
    ['10.0.0.1', 'fd00::1', '10.0.0.2'].map(address => pods.has('default', address)),
    [false, false, true],
  )
  pods.reset([])
  t.notOk(pods.has('default', '10.0.0.2'))
})
