import { definePlugin, integer, prefer } from '../../proxy/plugin.ts'

/** A client's next connection goes to another backend than its last one, if there is another. */
export default definePlugin({
  name: 'alternate',
  options: {
    clients: integer('How many clients are remembered.', { min: 1, max: 1_000_000 }, 10_000),
  },
  onError: 'skip',
  create: ({ clients }, host) => {
    const last = host.table<string>('last', { max: clients })
    const turned = host.counter('turned', 'Connections that went elsewhere than the one before')
    return {
      candidates: ({ client }, backends) => prefer(backends, ({ key }) => key !== last.get(client.address)),
      onResult: ({ client }, { key }, { outcome }) => {
        if (outcome !== 'connected') return
        if (last.get(client.address) !== key) turned.add()
        last.set(client.address, key)
      },
      state: () => ({ clients: last.size }),
    }
  },
})
