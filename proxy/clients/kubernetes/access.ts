/** How one cluster's API server is reached and who asks: what a kubeconfig or a service account says, nothing read yet. */
export interface Access {
  /** For messages: `context kind-2 of /home/me/.kube/config`. */
  readonly name: string
  /** With a path where there is one (behind a gateway), without a slash at its end. */
  readonly server: string
  /** Undefined: the authorities of the system. */
  readonly ca?: Pem
  /** The name the server's certificate must carry, where it is not that of the address. */
  readonly servername?: string
  /** The server's certificate is not looked at: whoever is on the way may read and answer. */
  readonly insecure: boolean
  /** `http://`, `https://` or `socks5://`. Empty: none, whatever the environment says. Undefined: as the environment says. */
  readonly proxy?: string
  readonly certificate?: { readonly cert: Pem; readonly key: Pem }
  readonly credential: Credential
  /** `Impersonate-User` and its like. */
  readonly impersonate: Readonly<Record<string, string | string[]>>
}

/** A text of PEM. Files are read again when they are needed again, since they are rotated in place. */
export type Pem = { readonly data: string } | { readonly file: string }

export type Credential =
  | { readonly by: 'nothing' }
  | { readonly by: 'token'; readonly token: string }
  /** `token` stands in until the file can be read. */
  | { readonly by: 'token-file'; readonly file: string; readonly token?: string }
  | { readonly by: 'password'; readonly username: string; readonly password: string }
  | { readonly by: 'exec'; readonly plugin: ExecPlugin }

/** A program that prints credentials: client-go's exec plugins (KEP-541). */
export interface ExecPlugin {
  readonly apiVersion: string
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly installHint?: string
  readonly provideClusterInfo: boolean
  /** What the cluster entry holds for it under `extensions`, passed on unread. */
  readonly config?: unknown
}
