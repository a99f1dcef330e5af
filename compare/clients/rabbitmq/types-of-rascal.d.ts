// What is used of rascal here; it brings no types.
declare module "rascal" {
  interface Publication {
    on(event: "success" | "return", listener: () => void): this;
    on(event: "error", listener: (error: Error) => void): this;
  }
  interface BrokerAsPromised {
    publish(publication: string, body: Buffer, overrides: object): Promise<Publication>;
    shutdown(): Promise<void>;
    on(event: "error", listener: (error: Error) => void): this;
  }
  const rascal: {
    withDefaultConfig(config: object): object;
    readonly BrokerAsPromised: { create(config: object): Promise<BrokerAsPromised> };
  };
  export default rascal;
}
