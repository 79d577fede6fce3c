/** A plugin that notes when an address of a change was first in the directory: bench/scale.ts gives those a range of their own. */
import { definePlugin } from '../../proxy/plugin.ts'
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
      for (const { address } of backends) {
        if (!address.startsWith(changedPrefix) || seenAt.has(address) || seenAt.size >= most) continue
        seenAt.set(address, performance.timeOrigin + performance.now())
      }
    },
  }),
})
