/** The intrusive list, against an array. */
import t from 'tap'
import { type Link, LinkedList } from '../../../../proxy/model/lists/linked-list.ts'

class Item implements Link<Item> {
  previous: Item | undefined = undefined
  next: Item | undefined = undefined
}

t.test('at random: it has the members of an array, in their order', async t => {
  const list = new LinkedList<Item>()
  const array: Item[] = []
  let seed = 3
  const draw = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * below)
  }
  const differing: number[] = []
  for (let step = 0; step < 3000; step++) {
    const some = array[draw(array.length)]
    const action = draw(array.length > 20 ? 4 : 3)
    if (action === 0 || !some) {
      const item = new Item()
      list.append(item)
      array.push(item)
    } else if (action === 1) {
      list.moveToEnd(some)
      array.push(...array.splice(array.indexOf(some), 1))
    } else {
      list.remove(some)
      array.splice(array.indexOf(some), 1)
    }
    const members = [...list]
    const isSame = members.length === array.length && members.every((item, i) => item === array[i])
    if (!isSame || list.size !== array.length || list.last !== array.at(-1)) differing.push(step)
  }
  t.same(differing, [])
})

t.test('a member may be removed while the list is read', async t => {
  const list = new LinkedList<Item>()
  for (let i = 0; i < 3; i++) list.append(new Item())
  for (const item of list) list.remove(item)
  t.equal(list.size, 0)
  t.equal(list.first, undefined)
  t.equal(list.last, undefined)
})
