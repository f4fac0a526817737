//! What came of a conversation: what the upstream got, what the client got, and how the call ended.

use std::collections::VecDeque;

use bytes::Bytes;
use extproc::wire::{
    BodyResponse, CommonResponse, HeaderMap, HeaderMutation, HeaderValue, ProcessingResponse,
    body_mutation::Mutation, processing_response::Response,
};
use tonic::Code;

pub(super) type Fields = Vec<(String, String)>;

/// What came of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Said {
    sent: Fields,
    upstream: Fields,
    client: Fields,
    trailers: Fields,
    upstream_began: bool,
    pub(super) upstream_ended: bool,
    pub(super) client_ended: bool,
    pub(super) trailers_answered: bool,
    upstream_body: Vec<u8>,
    client_pieces: Vec<Bytes>,
    /// Chunks whose answer has not come, and whether they are the last.
    pub(super) unanswered: VecDeque<(Bytes, bool)>,
    immediate: Option<Answer>,
    status: Option<Code>,
}

/// An answer by the processor itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: Fields,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

impl Said {
    pub(super) fn new(request: &Fields, response: &Fields, trailers: &Fields) -> Self {
        Self {
            sent: request.clone(),
            upstream: request.clone(),
            client: response.clone(),
            trailers: trailers.clone(),
            ..Self::default()
        }
    }

    /// The request's headers as they were sent, in the order of their names.
    pub(crate) fn sent(&self) -> Fields {
        sorted(&self.sent)
    }

    /// As the upstream got them.
    pub(crate) fn upstream(&self) -> Fields {
        sorted(&self.upstream)
    }

    pub(crate) fn upstream_header(&self, name: &str) -> Option<String> {
        joined(&self.upstream, name)
    }

    pub(crate) fn upstream_body(&self) -> String {
        String::from_utf8(self.upstream_body.clone()).unwrap()
    }

    /// Whether the upstream saw the request's headers.
    pub(crate) fn upstream_began(&self) -> bool {
        self.upstream_began
    }

    /// Whether the upstream saw the request's end.
    pub(crate) fn upstream_ended(&self) -> bool {
        self.upstream_ended
    }

    pub(crate) fn client_header(&self, name: &str) -> Option<String> {
        joined(&self.client, name)
    }

    pub(crate) fn client_trailer(&self, name: &str) -> Option<String> {
        joined(&self.trailers, name)
    }

    pub(crate) fn client_body(&self) -> String {
        String::from_utf8(self.client_bytes()).unwrap()
    }

    pub(crate) fn client_bytes(&self) -> Vec<u8> {
        self.client_pieces.concat()
    }

    /// The pieces in which the response's body came, none of them empty.
    pub(crate) fn client_pieces(&self) -> &[Bytes] {
        &self.client_pieces
    }

    pub(crate) fn immediate(&self) -> Option<Answer> {
        self.immediate.clone()
    }

    /// How the call ended.
    pub(crate) fn status(&self) -> Code {
        self.status.expect("the call must end")
    }

    pub(super) fn has_ended(&self) -> bool {
        self.immediate.is_some() || self.status.is_some()
    }

    pub(super) fn read_status(&mut self, headers: &http::HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.status = Some(Code::from_bytes(status.as_bytes()));
        }
    }

    pub(super) fn take(&mut self, answer: ProcessingResponse) {
        match answer.response.expect("an answer must say something") {
            Response::RequestHeaders(answer) => {
                self.upstream_began = true;
                change(
                    &mut self.upstream,
                    answer.response.and_then(|common| common.header_mutation),
                );
                // Overwritten by the body, where one follows.
                self.upstream_ended = self.unanswered.is_empty() && !self.has_request_body();
            }
            Response::ResponseHeaders(answer) => {
                change(
                    &mut self.client,
                    answer.response.and_then(|common| common.header_mutation),
                );
            }
            Response::RequestBody(answer) => self.body(true, answer),
            Response::ResponseBody(answer) => self.body(false, answer),
            Response::RequestTrailers(_) => panic!("no trailers were sent"),
            Response::ResponseTrailers(answer) => {
                self.trailers_answered = true;
                change(&mut self.trailers, answer.header_mutation);
            }
            Response::ImmediateResponse(answer) => {
                assert!(self.immediate.is_none(), "must answer once");
                let mut headers = Vec::new();
                change(&mut headers, answer.headers);
                self.immediate = Some(Answer {
                    status: u16::try_from(answer.status.unwrap().code).unwrap(),
                    body: String::from_utf8_lossy(&answer.body).into_owned(),
                    headers,
                });
            }
        }
    }

    fn has_request_body(&self) -> bool {
        self.sent
            .iter()
            .any(|(name, value)| name == ":method" && value == "PUT")
    }

    fn body(&mut self, is_request: bool, answer: BodyResponse) {
        let CommonResponse {
            header_mutation,
            body_mutation,
            ..
        } = answer.response.unwrap_or_default();
        let fields = if is_request {
            &mut self.upstream
        } else {
            &mut self.client
        };
        change(fields, header_mutation);
        let mutation = body_mutation.and_then(|mutation| mutation.mutation);
        if let Some(Mutation::StreamedResponse(piece)) = mutation {
            self.pass(is_request, piece.body, piece.end_of_stream);
            return;
        }
        let (chunk, is_last) = self.unanswered.pop_front().expect("an answer without a question");
        let chunk = match mutation {
            None => chunk,
            Some(Mutation::Body(body)) => body,
            Some(Mutation::ClearBody(clear)) => {
                assert!(clear);
                Bytes::new()
            }
            Some(Mutation::StreamedResponse(_)) => panic!("only in full duplex"),
        };
        self.pass(is_request, chunk, is_last);
    }

    pub(super) fn pass(&mut self, is_request: bool, chunk: Bytes, is_last: bool) {
        if is_request {
            self.upstream_body.extend_from_slice(&chunk);
            self.upstream_ended |= is_last;
        } else {
            self.client_pieces
                .extend(Some(chunk).filter(|chunk| !chunk.is_empty()));
            self.client_ended |= is_last;
        }
    }
}

fn sorted(fields: &Fields) -> Fields {
    let mut fields = fields.clone();
    fields.sort();
    fields
}

fn joined(fields: &Fields, name: &str) -> Option<String> {
    let values: Vec<_> = fields
        .iter()
        .filter(|(known, _)| known == name)
        .map(|(_, value)| &**value)
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn change(fields: &mut Fields, mutation: Option<HeaderMutation>) {
    let mutation = mutation.unwrap_or_default();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    for name in &mutation.remove_headers {
        fields.retain(|(known, _)| *known != text(name));
    }
    for option in mutation.set_headers {
        let header = option.header.unwrap();
        let name = text(&header.key);
        if option.append != Some(true) {
            fields.retain(|(known, _)| *known != name);
        }
        fields.push((name, text(&header.raw_value)));
    }
}

pub(super) fn to_wire(fields: &Fields) -> HeaderMap {
    let headers = fields.iter().map(|(name, value)| HeaderValue {
        key: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::new(),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
    });
    HeaderMap {
        headers: headers.collect(),
    }
}
