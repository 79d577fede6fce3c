/** WebSocket clients by lines: `call ID HOST PORT` by a connection of its own, `say ID TEXT` by one that stays. */
import { createInterface } from 'node:readline'

const [host = '', port = ''] = process.argv.slice(2)
let kept: WebSocket | undefined

const open = (to: string): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${to}/`)
    socket.onopen = () => resolve(socket)
    socket.onerror = event => reject(new Error('message' in event ? String(event.message) : 'failed'))
  })

/** Resolves with the name in the answer. */
const ask = (socket: WebSocket, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`))
    socket.onmessage = ({ data }) => resolve(String(data).split(' ')[0] ?? '')
    socket.send(text)
  })

async function work(word: string, text: string, to: string): Promise<string> {
  if (word === 'say') {
    if (!kept || kept.readyState !== WebSocket.OPEN) throw new Error('closed')
    return ask(kept, text)
  }
  const socket = await open(to)
  const name = await ask(socket, text)
  socket.close()
  return name
}

if (host) kept = await open(`${host}:${port}`)
createInterface({ input: process.stdin }).on('line', line => {
  const [word = '', id = '', to = ''] = line.split(' ')
  work(word, id, to).then(
    name => console.log(`${id} ok ${name}`),
    (error: Error) => console.log(`${id} failed ${error.message}`),
  )
})
console.log('ready')
