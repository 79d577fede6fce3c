import fc from 'fast-check'
import t from 'tap'
import { addressOfDestination, destinationOf } from '../../../proxy/model/backend.ts'
import { namesIn } from '../../../proxy/model/lists/names-in.ts'

t.test('the address is in the destination, whatever the network, the family and the protocol', async t => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6())
  const network = fc.option(fc.constantFrom('east', 'cluster-3', 'a.b'), { nil: undefined })
  const protocol = fc.constantFrom('TCP', 'UDP', 'SCTP')
  const property = fc.property(network, address, fc.nat(65_535), protocol, (network, address, port, protocol) => {
    return addressOfDestination(destinationOf(network, address, port, protocol)) === address
  })
  t.doesNotThrow(() => fc.assert(property))
})

t.test('a long list is asked for its names as a short one is', async t => {
  const names = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `n${i}` }))
  for (const count of [0, 1, 16, 17, 1000]) {
    for (const questions of [1, 1000]) {
      const has = namesIn(names(count), ({ name }) => name, questions)
      t.equal(has('n0'), count > 0)
      t.equal(has(`n${count - 1}`), count > 0)
      t.equal(has(`n${count}`), false)
    }
  }
})
