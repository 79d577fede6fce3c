/** Reads a stream of server-sent events (HTML standard 9.2): the `data` of each event. */
export class EventReader {
  #rest = ''
  #data: string[] = []

  /** The data of the events that are complete with this piece. */
  read(piece: string): string[] {
    const found: string[] = []
    const lines = (this.#rest + piece).split(/\r\n|\n|\r/)
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length > 0) found.push(this.#data.join('\n'))
        this.#data = []
      } else if (line.startsWith('data:')) this.#data.push(line.slice('data:'.length).replace(/^ /, ''))
    }
    return found
  }
}
