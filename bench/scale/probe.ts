/** A plugin that notes when an address of a change was first in the directory: bench/scale.ts gives those a range of their own. */
import { type Backend, definePlugin } from '../../proxy/plugin.ts'
import { changedPrefix } from './mesh.ts'

/** Wall-clock milliseconds. */
export const seenAt = new Map<string, number>()

const most = 100_000

export default definePlugin({
  name: 'probe',
  options: {},
  onError: 'skip',
  create: () => ({
    onService: ({ backends }) => {
      // By index: V8 makes an object for each step over a frozen list, which would count as the product's work.
      for (let i = 0; i < backends.length; i++) {
        const { address } = backends[i] as Backend
        if (!address.startsWith(changedPrefix) || seenAt.has(address) || seenAt.size >= most) continue
        seenAt.set(address, performance.timeOrigin + performance.now())
      }
    },
  }),
})
