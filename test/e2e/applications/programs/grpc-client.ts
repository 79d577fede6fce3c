/** gRPC clients by lines: `call ID HOST:PORT` by a channel of its own, `say ID` by a stream or calls of a channel that stays. */
import { createInterface } from 'node:readline'
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js'
import { service } from './grpc-service.ts'

const [host = '', port = '', kind = 'stream'] = process.argv.slice(2)
const options = { 'grpc.use_local_subchannel_pool': 1 }
const open = (to: string) => new Client(to, credentials.createInsecure(), options)
const { call, talk } = service
const waiting = new Map<string, (answer: Error | string) => void>()
let kept: Client | undefined
let stream: ClientDuplexStream<string, string> | undefined
let over: Error | undefined

const unary = (client: Client, text: string, waitForReady: boolean): Promise<string> =>
  new Promise((resolve, reject) => {
    const deadline = Date.now() + 45_000
    client.makeUnaryRequest(
      ...([call.path, call.requestSerialize, call.responseDeserialize, text] as const),
      { deadline, ...(waitForReady ? { waitForReady } : {}) } as object,
      (error, answer) => (error ? reject(error) : resolve(`${answer}`.split(' ')[0] ?? '')),
    )
  })

async function work(word: string, id: string, to: string): Promise<string> {
  if (word === 'say' && kept && !stream) return unary(kept, id, false)
  if (word === 'say')
    return new Promise((resolve, reject) => {
      if (over) return reject(over)
      waiting.set(id, answer => (answer instanceof Error ? reject(answer) : resolve(answer)))
      stream?.write(id)
    })
  const client = open(to)
  try {
    return await unary(client, id, false)
  } finally {
    client.close()
  }
}

if (host) {
  kept = open(`${host}:${port}`)
  if (kind === 'stream') {
    stream = kept.makeBidiStreamRequest(talk.path, talk.requestSerialize, talk.responseDeserialize)
    stream.on('data', (text: string) => {
      const [name = '', id = ''] = text.split(' ')
      waiting.get(id)?.(name)
      waiting.delete(id)
    })
    const end = (error: Error) => {
      over ??= error
      for (const answer of waiting.values()) answer(over)
    }
    stream.on('error', end).on('end', () => end(new Error('the stream has ended')))
  }
}
createInterface({ input: process.stdin }).on('line', line => {
  const [word = '', id = '', to = ''] = line.split(' ')
  work(word, id, to).then(
    name => console.log(`${id} ok ${name}`),
    (error: Error) => console.log(`${id} failed ${error.message}`),
  )
})
console.log('ready')
