/** Each connection of a client goes to another backend than its previous one, if there is another. */
import { definePlugin, integer, prefer } from '../../proxy/plugin.ts'

export default definePlugin({
  name: 'alternate',
  options: {
    clients: integer('The maximum number of clients to remember.', { min: 1, max: 1_000_000 }, 10_000),
  },
  onError: 'skip',
  create: ({ clients }, host) => {
    const last = host.table<string>('last', { max: clients })
    const changed = host.counter('changed', 'Connections that went to another backend than the previous one')
    return {
      candidates: ({ client }, backends) => prefer(backends, ({ key }) => key !== last.get(client.address)),
      onResult: ({ client }, { key }, { outcome }) => {
        if (outcome !== 'connected') return
        if (last.get(client.address) !== key) changed.add()
        last.set(client.address, key)
      },
      state: () => ({ clients: last.size }),
    }
  },
})
