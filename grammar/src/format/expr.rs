//! The layout of expressions.

use super::Formatter;
use super::doc::Doc;
use crate::ast::{Arg, ChainLink, Expr, ExprKind, Postfix, PostfixKind, UnaryOp};

impl<'a> Formatter<'a> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Doc<'a> {
        match &expr.kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::Name(_) => self.token(),
            ExprKind::List(items) => self.delimited(items.len(), |f, i| f.expr(&items[i])),
            ExprKind::Comprehension { list, body, .. } => {
                let mut docs = vec![self.token(), self.spaced(3), Doc::text(" ")];
                docs.push(self.expr(list));
                docs.push(self.token());
                let body = self.expr(body);
                docs.push(Doc::concat(vec![Doc::line(), body]).nest());
                docs.push(self.token());
                Doc::concat(docs).group()
            }
            ExprKind::Paren(inner) => {
                let open = self.token();
                let inner = self.expr(inner).align();
                Doc::concat(vec![open, inner, self.token()])
            }
            ExprKind::Unary { ops, operand } => {
                self.unary(ops.iter().map(|(op, _)| *op), |f| f.expr(operand))
            }
            ExprKind::Chain { first, rest } => self.chain(first, rest),
            ExprKind::Power { base, exponents } => {
                let mut docs = vec![self.expr(base)];
                for exponent in exponents {
                    docs.push(self.token());
                    for _ in &exponent.signs {
                        docs.push(self.token());
                    }
                    docs.push(self.expr(&exponent.operand));
                }
                Doc::concat(docs)
            }
            ExprKind::Compare { left, right, .. } => {
                let left = self.expr(left);
                let op = self.token();
                let right = self.expr(right);
                Doc::concat(vec![left, Doc::text(" "), op, Doc::text(" "), right])
            }
            ExprKind::Range { from, to } => {
                let from = self.tight(from);
                let dots = self.token();
                let to = self.tight(to);
                Doc::concat(vec![from, dots, to])
            }
            ExprKind::Pipe { first, stages } => {
                let breaks = self.pipe_breaks(stages);
                self.pipe(first, stages, breaks).align().group()
            }
            ExprKind::Postfix { base, ops } => {
                let mut docs = vec![self.expr(base)];
                let number = matches!(base.kind, ExprKind::Int(_) | ExprKind::Float(_));
                if number && self.peek() == "." {
                    // A number does not end with a point.
                    docs.push(Doc::text(" "));
                }
                for op in ops {
                    docs.push(self.postfix(op));
                }
                Doc::concat(docs)
            }
            ExprKind::If {
                branches,
                otherwise,
            } => {
                // Without line breaks of their own all branches break, or none.
                let own = branches
                    .iter()
                    .map(|(_, block)| block)
                    .chain(otherwise)
                    .any(|block| self.block_breaks(block));
                let mut docs = Vec::new();
                for (i, (condition, block)) in branches.iter().enumerate() {
                    if i > 0 {
                        docs.extend([Doc::text(" "), self.token(), Doc::text(" ")]);
                    }
                    docs.extend([self.token(), Doc::text(" ")]);
                    docs.push(self.expr(condition));
                    docs.push(Doc::text(" "));
                    docs.push(self.branch(block, own));
                }
                if let Some(block) = otherwise {
                    docs.extend([Doc::text(" "), self.token(), Doc::text(" ")]);
                    docs.push(self.branch(block, own));
                }
                let doc = Doc::concat(docs);
                if own { doc } else { doc.group() }
            }
        }
    }

    fn branch(&mut self, block: &crate::ast::Block, own: bool) -> Doc<'a> {
        let breaks = self.block_breaks(block);
        let doc = self.block(block, breaks);
        if own { doc.group() } else { doc }
    }

    fn unary(
        &mut self,
        ops: impl Iterator<Item = UnaryOp>,
        operand: impl FnOnce(&mut Self) -> Doc<'a>,
    ) -> Doc<'a> {
        let mut docs = Vec::new();
        for op in ops {
            docs.push(self.token());
            if op == UnaryOp::Not {
                docs.push(Doc::text(" "));
            }
        }
        docs.push(operand(self));
        Doc::concat(docs)
    }

    /// Operators of one level. Where the author broke the line, or it is too long, each operator starts a line.
    fn chain(&mut self, first: &Expr, rest: &[ChainLink]) -> Doc<'a> {
        let breaks = rest.iter().any(|link| {
            self.newline_before(link.op_span.start) || self.newline_before(link.operand.span.start)
        });
        let first = self.expr(first);
        let mut links = Vec::new();
        for link in rest {
            let lead = self.lead_lines();
            let op = self.token();
            let operand = self.expr(&link.operand);
            links.push((lead, op, operand));
        }
        let hard = first.is_hard() || links.iter().any(|(_, _, operand)| operand.is_hard());
        let mut docs = Vec::new();
        for (lead, op, operand) in links {
            docs.push(if breaks {
                Doc::hard_line()
            } else if hard {
                // An operand that spans lines by itself needs no line for its operator.
                Doc::text(" ")
            } else {
                Doc::line()
            });
            docs.extend(lead);
            docs.extend([op, Doc::text(" "), operand]);
        }
        Doc::concat(vec![first, Doc::concat(docs).nest()]).group()
    }

    /// An end of a range: without spaces, on one line.
    fn tight(&mut self, expr: &Expr) -> Doc<'a> {
        match &expr.kind {
            ExprKind::Chain { first, rest } => {
                let mut docs = vec![self.tight(first)];
                for link in rest {
                    docs.push(self.token());
                    docs.push(self.tight(&link.operand));
                }
                Doc::concat(docs)
            }
            ExprKind::Unary { ops, operand } => {
                self.unary(ops.iter().map(|(op, _)| *op), |f| f.tight(operand))
            }
            _ => self.expr(expr),
        }
    }

    /// Whether the author wrote a pipeline one stage a line.
    pub(super) fn pipe_breaks(&self, stages: &[Expr]) -> bool {
        stages.iter().any(|stage| {
            let token = self
                .tokens
                .partition_point(|t| t.start < stage.span.start as usize);
            self.newline_before_token(token) || (token > 0 && self.newline_before_token(token - 1))
        })
    }

    pub(super) fn pipe(&mut self, first: &Expr, stages: &[Expr], breaks: bool) -> Doc<'a> {
        let mut docs = vec![self.expr(first)];
        for stage in stages {
            docs.push(if breaks {
                Doc::hard_line()
            } else {
                Doc::line()
            });
            docs.extend(self.lead_lines());
            docs.extend([self.token(), Doc::text(" ")]);
            docs.push(self.expr(stage));
        }
        Doc::concat(docs)
    }

    fn postfix(&mut self, op: &Postfix) -> Doc<'a> {
        match &op.kind {
            PostfixKind::Call(args) => self.delimited(args.len(), |f, i| f.argument(&args[i])),
            PostfixKind::Index(index) => {
                let open = self.token();
                let index = self.expr(index).align();
                Doc::concat(vec![open, index, self.token()])
            }
            PostfixKind::Field(_) | PostfixKind::Transpose => {
                Doc::concat(vec![self.token(), self.token()])
            }
        }
    }

    fn argument(&mut self, arg: &Arg) -> Doc<'a> {
        if arg.name.is_none() {
            return self.expr(&arg.value);
        }
        let name = self.token();
        let colon = self.token();
        let value = self.expr(&arg.value);
        Doc::concat(vec![name, colon, Doc::text(" "), value])
    }

    /// Parts between brackets with commas between them. If the author broke the line behind the bracket, each part has
    /// a line of its own (if they do not fit on one); else lines are filled, aligned behind the bracket.
    pub(super) fn delimited(
        &mut self,
        count: usize,
        mut part: impl FnMut(&mut Self, usize) -> Doc<'a>,
    ) -> Doc<'a> {
        let open = self.token();
        if count == 0 {
            return Doc::concat(vec![open, self.token()]);
        }
        let below = self.newline_before_token(self.cursor);
        let mut commented = self.has_comments_before(self.cursor);
        let mut parts = Vec::new();
        for i in 0..count {
            let mut docs = self.lead_lines();
            docs.push(part(self, i));
            let mut comment = self.has_comments_before(self.cursor);
            if i + 1 < count {
                docs.push(self.token());
                comment |= self.has_comments_before(self.cursor);
            } else {
                docs.push(self.skip_separator());
                comment |= self.has_comments_before(self.cursor);
            }
            commented |= comment;
            parts.push((Doc::concat(docs), comment));
        }
        let (lead, _) = self.lead();
        if below {
            let line = || {
                if commented {
                    Doc::hard_line()
                } else {
                    Doc::line()
                }
            };
            let mut inner = Vec::new();
            for (i, (doc, _)) in parts.into_iter().enumerate() {
                inner.push(if i > 0 || commented {
                    line()
                } else {
                    Doc::soft_line()
                });
                inner.push(doc);
            }
            for (comment, _) in lead {
                inner.extend([Doc::hard_line(), Doc::text(comment)]);
            }
            let inner = Doc::concat(inner).nest();
            let end = if commented {
                Doc::hard_line()
            } else {
                Doc::soft_line()
            };
            return Doc::concat(vec![open, inner, end, self.token()]).group();
        }
        let mut inner = vec![Doc::fill(parts)];
        for (comment, _) in &lead {
            inner.extend([Doc::hard_line(), Doc::text(*comment)]);
        }
        if !lead.is_empty() {
            inner.push(Doc::hard_line());
        }
        let inner = Doc::concat(inner).align();
        Doc::concat(vec![open, inner, self.token()])
    }
}
